"""Vectors: signatures on images, in both of cosign's forms, and what others hang beside them."""

import json
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from content.sigstore.judge import CERTIFICATE
from content.sigstore.signatures import SIGN_V1, SIMPLE_SIGNING, STATEMENT_V01
from manifests.documents.release import ImageSigner
from manifests.trust.envelope import BUNDLE
from manifests.trust.keys import PublicKey, encode_base64, keyid_of, spki_of
from manifests.words.digest import digest_of
from tests.images import simple_signing
from tests.keyless import IDENTITY, ISSUER, KeylessVendor, Sigstore
from tests.signed_images import (
    CI,
    OTHER,
    P384,
    P521,
    Hanging,
    OtherWay,
    PrivateKey,
    SignedVendor,
    b64,
    dump,
    envelope_bundle,
    hint,
    message_bundle,
    provenance,
    record,
    rsa_key,
    sign,
    statement,
)
from tests.vectors.surgery import Case
from tests.vendor import bulk

Hang = Callable[[Hanging], None]
PRIVATE, SECOND_KIND = Sigstore(), Sigstore(rekor=2)


# --- not signed, somebody else's, wrong -------------------------------------------------------------------------------


def nothing(on: Hanging) -> None:
    pass


def only_an_attestation(on: Hanging) -> None:
    on.refer(envelope_bundle(CI, provenance(on.digest)))


def near_miss(on: Hanging) -> None:
    on.refer(envelope_bundle(CI, statement(on.digest, SIGN_V1 + "/")))


def on_a_platform_alone(on: Hanging) -> None:
    payload = simple_signing(on.child)
    on.simple((payload, sign(CI, payload)), about=on.child)


def tag_of_another_repository(on: Hanging) -> None:
    on.signed(CI)
    on.top[-1]["annotations"]["org.opencontainers.image.ref.name"] = (  # type: ignore[index]  # a dict of ours
        f"small/other:{on.digest.replace(':', '-')}.sig"
    )


def stranger(on: Hanging) -> None:
    on.signed(OTHER)


def stranger_bundle(on: Hanging) -> None:
    on.refer(envelope_bundle(OTHER, statement(on.digest)))


def keyless_bundle(on: Hanging) -> None:
    material = {"certificate": {"rawBytes": b64(b"x")}, "tlogEntries": []}
    on.refer(envelope_bundle(OTHER, statement(on.digest), verificationMaterial=material))


def keyless_simple(on: Hanging) -> None:
    payload = simple_signing(on.digest)
    on.simple((payload, sign(OTHER, payload)), **{CERTIFICATE: "-----BEGIN CERTIFICATE-----"})


def another_digest(on: Hanging) -> None:
    on.signed(CI, about=digest_of(b"another image"))


def another_type(on: Hanging) -> None:
    payload = simple_signing(on.digest).replace(b"cosign container image signature", b"atomic container signature")
    on.simple((payload, sign(CI, payload)))


def capital_digest(on: Hanging) -> None:
    payload = simple_signing(on.digest).replace(b"docker-manifest-digest", b"Docker-manifest-digest")
    on.simple((payload, sign(CI, payload)))


def no_base64(on: Hanging) -> None:
    payload = simple_signing(on.digest)
    on.simple((payload, b""))


def broken_bundle(on: Hanging) -> None:
    data = json.loads(envelope_bundle(CI, statement(on.digest)))
    data["dsseEnvelope"]["payload"] = b64(statement(digest_of(b"another")))
    on.refer(dump(data))


def hint_of_ours(on: Hanging) -> None:
    material = {"publicKey": {"hint": hint(CI)}, "tlogEntries": []}
    on.refer(envelope_bundle(OTHER, statement(on.digest), verificationMaterial=material))


def subject_of_another(on: Hanging) -> None:
    on.refer(envelope_bundle(CI, statement(digest_of(b"another"))))


def two_subjects(on: Hanging) -> None:
    subjects = [{"digest": {"sha256": one.removeprefix("sha256:")}} for one in (on.digest, digest_of(b"another"))]
    on.refer(envelope_bundle(CI, statement(on.digest, subject=subjects)))


def old_statement(on: Hanging) -> None:
    on.refer(envelope_bundle(CI, statement(on.digest, _type=STATEMENT_V01)))


def signed_over_the_bare_payload(on: Hanging) -> None:
    payload = statement(on.digest)
    data = json.loads(envelope_bundle(CI, payload))
    data["dsseEnvelope"]["signatures"] = [{"sig": b64(sign(CI, payload))}]
    on.refer(dump(data))


def other_payload_type(on: Hanging) -> None:
    payload = statement(on.digest)
    data = json.loads(envelope_bundle(CI, payload))
    data["dsseEnvelope"]["payloadType"] = "application/vnd.in-toto+xml"
    on.refer(dump(data))


def message_of_another(on: Hanging) -> None:
    on.refer(message_bundle(CI, b"another image"))


def message_with_a_lying_digest(on: Hanging) -> None:
    on.refer(message_bundle(CI, on.manifest, digest_of(b"another image")))


MISSING = (nothing, only_an_attestation, near_miss, on_a_platform_alone, tag_of_another_repository)
UNKNOWN = (stranger, stranger_bundle, keyless_bundle, keyless_simple)
WRONG = (
    another_digest,
    another_type,
    capital_digest,
    no_base64,
    broken_bundle,
    hint_of_ours,
    subject_of_another,
    two_subjects,
    old_statement,
    signed_over_the_bare_payload,
    other_payload_type,
    message_of_another,
    message_with_a_lying_digest,
)


def _raw(data: bytes) -> Hang:
    return lambda on: on.refer(data)


JUNK: dict[str, Hang] = {
    "no JSON": _raw(b"\x7fELF"),
    "no object": _raw(b'["dsseEnvelope"]'),
    "two keys alike": _raw(b'{"dsseEnvelope":{},"dsseEnvelope":{}}'),
    "deep": _raw(b'{"dsseEnvelope":' + b"[" * 1000 + b"]" * 1000 + b"}"),
    "a float of no end": _raw(b'{"dsseEnvelope":NaN}'),
    "half a surrogate": _raw(b'{"dsseEnvelope":"\\ud800"}'),
    "UTF-16": _raw('{"dsseEnvelope":1}'.encode("utf-16")),
    "other media type": lambda on: on.refer(envelope_bundle(CI, statement(on.digest), mediaType="text/plain")),
    "both contents": lambda on: on.refer(envelope_bundle(CI, statement(on.digest), messageSignature={})),
    "no material": lambda on: on.refer(envelope_bundle(CI, statement(on.digest), verificationMaterial={})),
    "two signatures": lambda on: on.refer(
        dump(
            {
                **json.loads(envelope_bundle(CI, statement(on.digest))),
                "dsseEnvelope": {"payload": "e30=", "payloadType": "x", "signatures": [{"sig": "AA=="}] * 2},
            }
        )
    ),
    "url-safe base64": lambda on: on.refer(
        envelope_bundle(CI, statement(on.digest)).replace(b'"payload":"', b'"payload":"_-')
    ),
    "simple signing of nothing": lambda on: on.simple((b"{}", b"x")),
    "empty": _raw(b""),
    "too long": _raw(b'{"dsseEnvelope":"' + b"x" * (4 << 20) + b'"}'),
    "a stranger's": stranger,
}


def both_forms(on: Hanging) -> None:
    on.signed(CI)
    on.refer(envelope_bundle(CI, statement(on.digest)))


def typed_by_the_index(on: Hanging) -> None:
    """Only index.json calls it a Sigstore bundle; the manifest and its layer do not."""
    on.refer(envelope_bundle(CI, statement(on.digest)), "application/octet-stream")
    on.top[-1]["artifactType"] = BUNDLE


def stripped(on: Hanging) -> None:
    """The manifest of the signature is there; whoever carried it took the signature out of its annotation."""
    payload = simple_signing(on.digest)
    on.tag([on.target(SIMPLE_SIGNING, payload)], ".sig")


def case(hang: Hang, **fields: Any) -> Callable[[], Case]:
    def make() -> Case:
        vendor = SignedVendor(hang=hang, **fields)
        return Case(vendor.bundle(), vendor.pin())

    return make


def held(hang: Hang) -> Callable[[], Case]:
    """A delta without its JSON documents, before a reader that says it holds them and cannot read them."""

    def make() -> Case:
        vendor = SignedVendor(hang=hang)
        release, blobs, index = vendor.release()
        ours = tuple(digest for digest, data in blobs.items() if data[:1] == b"{")
        made = vendor.bundle()[: release.bulk_at] + bulk(release, blobs, index, skip=ours)
        return Case(made, vendor.pin(), held=frozenset(ours))

    return make


def keyless(hang: Hang, **fields: Any) -> Callable[[], Case]:
    def make() -> Case:
        vendor = KeylessVendor(hang=hang, **fields)
        return Case(vendor.bundle(), vendor.pin())

    return make


def beside(junk: Hang) -> Callable[[], Case]:
    """Junk on an image that is signed as it should be."""

    def hang(on: Hanging) -> None:
        on.refer(envelope_bundle(CI, statement(on.digest)))
        junk(on)

    return case(hang)


def by_identity(sigstore: Sigstore = PRIVATE, **options: Any) -> Hang:
    return lambda on: on.refer(sigstore.sign_statement(statement(on.digest), **options))


def spelled(name: str) -> str:
    return name.replace("_", "-").replace(" ", "-").replace("'", "").lower()


# --- kinds of keys ----------------------------------------------------------------------------------------------------

ED = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
# A salt of no bytes makes PSS the same bytes every time.
KINDS: dict[str, PrivateKey] = {
    "p384": P384,
    "p384-sha384": OtherWay(P384, hashes.SHA384()),
    "p521": P521,
    "p521-sha512": OtherWay(P521, hashes.SHA512()),
    "ed25519": ED,
    "rsa-2048": rsa_key(2048),
    "rsa-3072": rsa_key(3072),
    "rsa-4096": rsa_key(4096),
    "rsa-3072-pss": OtherWay(rsa_key(3072), salt=0),
}
OTHER_WAYS: dict[str, OtherWay] = {
    "p384-sha512": OtherWay(P384, hashes.SHA512()),
    "p521-sha384": OtherWay(P521, hashes.SHA384()),
    "rsa-pss-sha512": OtherWay(rsa_key(3072), hashes.SHA512(), salt=0),
}


def of_kind(key: PrivateKey, *, tag: bool) -> Callable[[], Case]:
    """An image that this key signed, in the older or the newer form."""

    def hang(on: Hanging) -> None:
        if tag:
            on.signed(key)
        else:
            on.refer(envelope_bundle(key, statement(on.digest)))

    return case(hang, signer=ImageSigner(key=record(key)))


def recorded(algorithm: str, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> Callable[[], Case]:
    """A record that says ``algorithm`` of this key."""
    stated = PublicKey(algorithm=algorithm, public=encode_base64(spki_of(key.public_key())))
    material = {"publicKey": {"hint": b64(bytes.fromhex(keyid_of(stated.spki)))}, "tlogEntries": []}
    return case(
        lambda on: on.refer(envelope_bundle(CI, statement(on.digest), verificationMaterial=material)),
        signer=ImageSigner(key=stated),
    )


TOPICS: dict[str, tuple[str, dict[str, Callable[[], Case]]]] = {
    "image-signatures": (
        "An image names a signer by key (F-11.1, F-11.2). A simple-signing payload is of one type and about this "
        "image (F-11.3), a Sigstore bundle holds a statement or a signature about it (F-11.4). Missing, by others "
        "alone and wrong are three findings (F-11.7). What was not judged is refused (F-11.10).",
        {
            "tag": case(lambda on: on.signed(CI)),
            "referrer": case(lambda on: on.refer(envelope_bundle(CI, statement(on.digest)))),
            "referrer-over-the-manifest": case(lambda on: on.refer(message_bundle(CI, on.manifest))),
            "of-the-index": case(lambda on: on.refer(envelope_bundle(CI, statement(on.digest))), index=True),
            "both-forms": case(both_forms),
            **{f"missing-{spelled(one.__name__)}": case(one, index=True) for one in MISSING},
            "missing-typed-by-the-index-alone": case(typed_by_the_index),
            "stripped-annotation": case(stripped),
            "held-elsewhere-and-not-judged": held(lambda on: on.refer(envelope_bundle(CI, statement(on.digest)))),
            **{f"unknown-{spelled(one.__name__)}": case(one, index=True) for one in UNKNOWN},
            **{f"wrong-{spelled(one.__name__)}": case(one, index=True) for one in WRONG},
        },
    ),
    "image-signature-kinds": (
        "The kinds of keys that sign images, and the ways in which each signs (F-11.2). RSA of 2048 bits is accepted "
        "with a warning. A way of another kind is no signature; a record of another kind is malformed or newer.",
        {
            **{f"{name}-tag": of_kind(key, tag=True) for name, key in KINDS.items()},
            **{f"{name}-referrer": of_kind(key, tag=False) for name, key in KINDS.items()},
            **{f"{name}-is-no-way": of_kind(key, tag=False) for name, key in OTHER_WAYS.items()},
            "recorded-as-another-curve": recorded("ecdsa-p384", CI),
            "recorded-p224": recorded("ecdsa-p384", ec.derive_private_key(201, ec.SECP224R1())),
            "recorded-rsa-without-hash": recorded("rsa", rsa_key(3072)),
        },
    ),
    "image-signature-junk": (
        "Whoever can write to a registry can hang things on an image. Beside a good signature they are named and "
        "decide nothing, alone they are no signature (F-11.1, F-11.6).",
        {
            **{f"{spelled(name)}-alone": case(junk) for name, junk in JUNK.items()},
            **{f"{spelled(name)}-beside": beside(junk) for name, junk in JUNK.items()},
        },
    ),
    "image-identities": (
        "A signer that is an identity: name and issuer exactly, under the trusted root that the vendor's root pins "
        "(F-8.19, F-11.5). Needs sigstore.",
        {
            "rekor-1": keyless(by_identity()),
            "rekor-2-and-stamp": keyless(by_identity(SECOND_KIND)),
            "another-identity": keyless(by_identity(identity=IDENTITY + "x")),
            "identity-in-capitals": keyless(by_identity(identity=IDENTITY.upper())),
            "another-issuer": keyless(by_identity(issuer=ISSUER + "/")),
            "another-sigstore": keyless(by_identity(PRIVATE.other())),
            "no-promise-of-the-certificate-log": keyless(by_identity(sct=False)),
            "by-a-key": keyless(lambda on: on.refer(envelope_bundle(CI, statement(on.digest)))),
            "trusted-root-not-pinned": keyless(by_identity(), pinned=()),
            "another-trusted-root-pinned": keyless(by_identity(), pinned=(digest_of(b"another"),)),
        },
    ),
}
