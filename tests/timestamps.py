"""A time-stamp authority in memory (RFC 3161): answers in DER, written here piece by piece (CMS, RFC 5652).

Only fixed keys and times go in, so that the same message gets the same stamp everywhere.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SIGNED_DATA = "1.2.840.113549.1.7.2"
TST_INFO = "1.2.840.113549.1.9.16.1.4"
CONTENT_TYPE = "1.2.840.113549.1.9.3"
MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
SIGNING_CERTIFICATE_V2 = "1.2.840.113549.1.9.16.2.47"
SHA256 = "2.16.840.1.101.3.4.2.1"
ECDSA_SHA256 = "1.2.840.10045.4.3.2"
POLICY = "1.3.6.1.4.1.57264.2"


def tlv(tag: int, *parts: bytes) -> bytes:
    """Tag, length, value (X.690, section 8.1)."""
    data = b"".join(parts)
    if len(data) < 128:
        return bytes((tag, len(data))) + data
    length = len(data).to_bytes((len(data).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + data


def sequence(*parts: bytes) -> bytes:
    return tlv(0x30, *parts)


def set_of(*parts: bytes) -> bytes:
    return tlv(0x31, *sorted(parts))


def octets(data: bytes) -> bytes:
    return tlv(0x04, data)


def integer(value: int) -> bytes:
    return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    data = bytearray()
    for arc in (first * 40 + second, *rest):
        piece = bytearray((arc & 0x7F,))
        while arc := arc >> 7:
            piece.insert(0, 0x80 | arc & 0x7F)
        data += piece
    return tlv(0x06, bytes(data))


SHA256_ALGORITHM = sequence(oid(SHA256), tlv(0x05))


@dataclass(frozen=True)
class Authority:
    """Attributes: key: signs stamps; root_key: vouches for it; at: the time that every stamp says; life: how long after
    that its certificates are valid.
    """

    key: ec.EllipticCurvePrivateKey
    root_key: ec.EllipticCurvePrivateKey
    at: datetime
    life: timedelta = timedelta(days=3650)

    def root(self) -> x509.Certificate:
        return self._certificate("stamps root", self.root_key, ca=True)

    def leaf(self) -> x509.Certificate:
        return self._certificate("stamps", self.key, ca=False)

    def _certificate(self, name: str, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> x509.Certificate:
        def named(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

        usage = {"digital_signature": not ca, "key_cert_sign": ca, "crl_sign": ca}
        rest = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
        more = ("encipher_only", "decipher_only")
        builder = (
            x509.CertificateBuilder()
            .subject_name(named(name))
            .issuer_name(named("stamps root"))
            .public_key(key.public_key())
            .serial_number(1 if ca else 2)
            .not_valid_before(self.at - timedelta(days=365))
            .not_valid_after(self.at + self.life)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(**usage, **dict.fromkeys((*rest, *more), False)), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.root_key.public_key()), critical=False
            )
        )
        if not ca:
            builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
        return builder.sign(self.root_key, hashes.SHA256(), ecdsa_deterministic=True)

    def stamp(self, message: bytes, status: int = 0) -> bytes:
        """The TimeStampResp for ``message``."""
        info = sequence(
            integer(1),
            oid(POLICY),
            sequence(SHA256_ALGORITHM, octets(hashlib.sha256(message).digest())),
            integer(1),
            tlv(0x18, self.at.strftime("%Y%m%d%H%M%SZ").encode()),
        )
        leaf = self.leaf()
        der = leaf.public_bytes(serialization.Encoding.DER)
        attributes = (
            sequence(oid(CONTENT_TYPE), set_of(oid(TST_INFO))),
            sequence(oid(MESSAGE_DIGEST), set_of(octets(hashlib.sha256(info).digest()))),
            sequence(
                oid(SIGNING_CERTIFICATE_V2),
                set_of(sequence(sequence(sequence(octets(hashlib.sha256(der).digest()))))),
            ),
        )
        signed = set_of(*attributes)
        signature = self.key.sign(signed, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        signer = sequence(
            integer(1),
            sequence(leaf.issuer.public_bytes(), integer(leaf.serial_number)),
            SHA256_ALGORITHM,
            b"\xa0" + signed[1:],
            sequence(oid(ECDSA_SHA256)),
            octets(signature),
        )
        data = sequence(
            integer(3),
            set_of(SHA256_ALGORITHM),
            sequence(oid(TST_INFO), tlv(0xA0, octets(info))),
            tlv(0xA0, der),
            set_of(signer),
        )
        return sequence(sequence(integer(status)), sequence(oid(SIGNED_DATA), tlv(0xA0, data)))
