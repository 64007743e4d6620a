"""The revocation list: one monotonic document of the vendor, signed by the root role alone."""

from typing import Annotated

from msgspec import Meta

from manifests.canonical import parse
from manifests.digest import Digest, KeyId, Name, Positive
from manifests.document import Document
from manifests.envelope import parse_envelope, verify_signature
from manifests.errors import UntrustedError
from manifests.trust import Chain

REVOCATIONS_TYPE = "application/vnd.waybill.revocations.v1+json"
MAX_REVOCATIONS = 1 << 20


class Revocations(Document, frozen=True, kw_only=True, tag_field="type", tag=REVOCATIONS_TYPE):
    """What is no longer good. A list with a higher version replaces every lower one."""

    vendor: Name
    version: Positive
    keys: Annotated[tuple[KeyId, ...], Meta(max_length=4096)] = ()
    releases: Annotated[tuple[Digest, ...], Meta(max_length=4096)] = ()
    handlers: Annotated[tuple[Digest, ...], Meta(max_length=4096)] = ()


def verify_revocations(data: bytes, chain: Chain, what: str = "revocations.json") -> Revocations:
    """The list, when a threshold of the newest root's root role signed it.

    Raises:
        MalformedError: Not a list in our form.
        UntrustedError: A signature is wrong or by a stranger, or there are too few.
    """
    envelope = parse_envelope(data, REVOCATIONS_TYPE, what, max_bytes=MAX_REVOCATIONS)
    role = chain.newest.roles["root"]
    good = set()
    for one in envelope.signatures:
        key = chain.key(one.keyid)
        if key is None:
            raise UntrustedError(f"signed by unknown key {one.keyid}", where=what, finding="signature-unknown")
        if key.known:
            verify_signature(envelope, one, key, what)
            good.add(one.keyid)
    if len(good & set(role.keys)) < role.threshold:  # F-150
        raise UntrustedError(f"needs {role.threshold} root signatures", where=what, finding="signature-missing")
    found = parse(envelope.payload_bytes, Revocations, what, max_bytes=MAX_REVOCATIONS)
    if found.vendor != chain.newest.vendor:  # F-151
        raise UntrustedError(f"a list of {found.vendor}, expected {chain.newest.vendor}", where=what)
    return found
