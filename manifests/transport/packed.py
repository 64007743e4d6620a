"""Pack a report into as few bytes as possible, for e-mail text and QR symbols.

The file of a report is a function of three things: who signed, the signature, and the core. The core is deflated
(RFC 1951), the rest is raw; unpacking makes the very file again, byte for byte, so that its digest says whether it did.
"""

import zlib

from manifests.documents.report import MAX_CORE
from manifests.trust.envelope import MAX_BUNDLE, SigstoreBundle
from manifests.trust.envelope_writer import join_bundle
from manifests.trust.keys import decode_base64
from manifests.words.canonical import parse
from manifests.words.errors import MalformedError

_KIND = b"\x01"
_KEY_END = 33
# The core may be as long as it is: what deflate cannot shorten it stores, with a few bytes around each 64 KiB.
MAX_PACKED = 1 + 32 + 1 + 255 + MAX_CORE + 1024


def pack_report(raw: bytes, what: str = "report") -> bytes:
    """The packed form of a report file. Raises MalformedError unless it is a Sigstore bundle in our form."""
    parsed = parse(raw, SigstoreBundle, what, max_bytes=MAX_BUNDLE)
    core = decode_base64(parsed.envelope.payload, what)
    signature = decode_base64(parsed.envelope.signatures[0].sig, what)
    keyid = decode_base64(parsed.material.public_key.hint, what)
    if len(keyid) != 32 or len(signature) > 255 or len(core) > MAX_CORE:
        raise MalformedError("its parts are longer than a report has them", where=what)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = deflate.compress(core) + deflate.flush()
    return _KIND + keyid + bytes([len(signature)]) + signature + packed


def unpack_report(packed: bytes, what: str) -> bytes:
    """The file again, unverified. Raises MalformedError unless ``pack_report`` makes such bytes."""
    if len(packed) > MAX_PACKED:
        raise MalformedError(f"{len(packed)} bytes, at most {MAX_PACKED} are allowed", where=what)
    if packed[:1] != _KIND:
        raise MalformedError("not a packed report of the kind that this program knows", where=what)
    if len(packed) < _KEY_END + 1:
        raise MalformedError("ends within its first fields", where=what)
    keyid = packed[1:_KEY_END]
    end = _KEY_END + 1 + packed[_KEY_END]
    core = _inflate(packed[end:], what)
    return join_bundle(core, packed[_KEY_END + 1 : end], keyid.hex())


def _inflate(data: bytes, what: str) -> bytes:
    """At most ``MAX_CORE`` bytes, however small the compressed input is."""
    inflate = zlib.decompressobj(-15)
    try:
        core = inflate.decompress(data, MAX_CORE + 1)
    except zlib.error:
        raise MalformedError("its compressed part is damaged", where=what) from None
    if len(core) > MAX_CORE:
        raise MalformedError(f"unfolds to more than {MAX_CORE} bytes, the longest core", where=what)
    if not inflate.eof or inflate.unused_data:
        raise MalformedError("its compressed part does not end where it should", where=what)
    return core
