"""The rotation of a site's key, signed by the old key and the new one."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Annotated

import msgspec
from msgspec import Meta

from manifests.trust.envelope import SigstoreBundle, pae
from manifests.trust.keys import PublicKey, decode_base64, encode_base64
from manifests.trust.private_keys import Signer
from manifests.words.canonical import decode, encode
from manifests.words.digest import Count, Digest, KeyId, Positive, SiteId, Time
from manifests.words.document import Document
from manifests.words.errors import MalformedError, NewerError, UntrustedError, WaybillError

ROTATION_TYPE = "application/vnd.waybill.rotation.v1+json"
MAX_SUCCESSION = 8

# DER of two 32-byte integers is at most 72 bytes; bounded here because it travels inside a report.
RotationSignature = Annotated[
    str, Meta(max_length=200, pattern=r"\A(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?\Z")
]


class Rotation(Document, frozen=True, kw_only=True, tag_field="type", tag=ROTATION_TYPE):
    """What both keys sign.

    Attributes:
        former: Key id of the key that leaves.
        key: The key that speaks from now on.
        key_epoch: Of the new key; one more than the former's.
        after_seq: The last report by the former key, 0 for none; ``after`` is the digest of its file, of the
            enrolment for none. What the former key signs above that number is not the site's any more.
        made_at: By the site's clock; shown, never judged.
    """

    site: SiteId
    former: KeyId
    key: PublicKey
    key_epoch: Positive
    after_seq: Count
    after: Digest
    made_at: Time


class SignedRotation(Document, frozen=True, kw_only=True):
    """A rotation with its two DSSE signatures, over its canonical bytes; nothing is proved until it was verified."""

    rotation: Rotation
    by_former: RotationSignature
    by_key: RotationSignature


def sign_rotation(rotation: Rotation, former: Signer, new: Signer) -> SignedRotation:
    """Both keys agree: the old one names its successor, the new one proves that somebody holds it."""
    if former.public.keyid != rotation.former or new.public != rotation.key:
        raise ValueError("a rotation is signed by the two keys that it names")
    message = pae(ROTATION_TYPE, encode(rotation))
    return SignedRotation(
        rotation=rotation,
        by_former=encode_base64(former.sign(message)),
        by_key=encode_base64(new.sign(message)),
    )


def verify_rotation(signed: SignedRotation, former: PublicKey, what: str = "rotation") -> Rotation:
    """What the rotation says, when ``former``, which the caller trusts, and the new key both signed it.

    Raises:
        NewerError: The new key is of an unknown algorithm.
        UntrustedError: It is about another key, or a signature does not match.
    """
    said = signed.rotation
    if said.former != former.keyid or said.key.keyid == said.former:  # D-4.1
        raise UntrustedError(
            f"replaces key {said.former[:16]} by {said.key.keyid[:16]}, the site's key is {former.keyid[:16]}",
            where=what,
            finding="rotation-other-key",
        )
    if not said.key.known:  # D-3.1
        raise NewerError(
            f"its new key is of the unknown algorithm {said.key.algorithm!r}",
            where=what,
            remedy="use a newer version of waybill",
        )
    message = pae(ROTATION_TYPE, encode(said))
    for key, signature in ((former, signed.by_former), (said.key, signed.by_key)):
        key.verify(decode_base64(signature, what), message, what)
    return said


def check_succession(succession: tuple[SignedRotation, ...], what: str) -> None:
    """Raise MalformedError unless each rotation follows the one before it: site, key, epoch, place."""
    for before, after in pairwise(one.rotation for one in succession):
        if (
            after.site != before.site
            or after.former != before.key.keyid
            or after.key_epoch != before.key_epoch + 1
            or after.after_seq < before.after_seq
        ):
            raise MalformedError(
                f"the rotation to key epoch {after.key_epoch} does not follow the one before it",
                where=what,
                finding="report-contradiction",
            )


def follow(
    site: str, key: PublicKey, epoch: int, succession: Iterable[SignedRotation], what: str = "report"
) -> tuple[Rotation, ...]:
    """The rotations that lead on from ``key``, each verified; those before it are left out. Empty when none does.

    Args:
        key, epoch: The newest key that the caller trusts for ``site``.

    Raises:
        UntrustedError, NewerError: One that should lead on does not hold.
    """
    found = []
    for one in succession:
        if one.rotation.key_epoch <= epoch:
            continue
        if one.rotation.site != site or one.rotation.key_epoch != epoch + 1:
            raise UntrustedError(
                f"leads to key {one.rotation.key_epoch} of {one.rotation.site}, expected key {epoch + 1} of {site}",
                where=what,
                remedy="import the reports between, or ask the site for its newest one",
                finding="rotation-gap",
            )
        rotation = verify_rotation(one, key, what)
        found.append(rotation)
        key, epoch = rotation.key, rotation.key_epoch
    return tuple(found)


class _Identity(msgspec.Struct, frozen=True):
    succession: tuple[SignedRotation, ...] = ()


class _Report(msgspec.Struct, frozen=True):
    identity: _Identity


class _Claim(msgspec.Struct, frozen=True):
    predicate: _Report


def claimed_succession(data: bytes) -> tuple[SignedRotation, ...]:
    """The rotations that a report file claims, unverified: good for finding whose key signed it. Never raises.

    ``follow`` them from the key that is enrolled, then verify the report with the last one.
    """
    try:
        bundle = decode(data, SigstoreBundle, "report")
        return decode(decode_base64(bundle.envelope.payload, "report"), _Claim, "report").predicate.identity.succession
    except WaybillError:
        return ()
