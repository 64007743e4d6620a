"""The rotation of a site's key, signed by the old key and the new one."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Annotated

import msgspec
from msgspec import Meta

from manifests.trust.envelope import SigstoreBundle, pae
from manifests.trust.keys import PublicKey, decode_base64, encode_base64
from manifests.trust.private_keys import Signer
from manifests.words.canonical import Document, decode, encode
from manifests.words.digest import Count, Digest, KeyId, Positive, SiteId, Time
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
        key_epoch: Of the new key ``key``; one more than the former's.
        after_seq: The last report by the former key, 0 for none; ``after`` is the digest of its file, else of
            the enrolment. Reports above that number by the former key are refused.
        made_at: By the site's clock; shown only.
    """

    site: SiteId
    former: KeyId
    key: PublicKey
    key_epoch: Positive
    after_seq: Count
    after: Digest
    made_at: Time


class SignedRotation(Document, frozen=True, kw_only=True):
    """A rotation with two DSSE signatures over its canonical bytes, unverified."""

    rotation: Rotation
    by_former: RotationSignature
    by_key: RotationSignature


def sign_rotation(rotation: Rotation, former: Signer, new: Signer) -> SignedRotation:
    """Sign a rotation with both keys; the new key's signature proves its possession."""
    if former.public.keyid != rotation.former or new.public != rotation.key:
        raise ValueError("a rotation is signed by the two keys that it names")
    message = pae(ROTATION_TYPE, encode(rotation))
    return SignedRotation(
        rotation=rotation, by_former=encode_base64(former.sign(message)), by_key=encode_base64(new.sign(message))
    )


def verify_rotation(signed: SignedRotation, former: PublicKey, what: str = "rotation") -> Rotation:
    """Return the rotation, if the trusted key ``former`` and the new key both signed it.

    Raises:
        NewerError: The new key is of an unknown algorithm.
        UntrustedError: It names another key, or a signature is wrong.
    """
    rotation = signed.rotation
    if rotation.former != former.keyid or rotation.key.keyid == rotation.former:  # D-4.1
        change = f"from key {rotation.former} to {rotation.key.keyid}"
        problem = f"rotation is {change}, the site's key is {former.keyid}"
        raise UntrustedError(problem, where=what, finding="rotation-other-key")
    if not rotation.key.known:  # D-3.1
        raise NewerError(f"algorithm of the new key is {rotation.key.algorithm!r}, which is unknown", where=what)
    message = pae(ROTATION_TYPE, encode(rotation))
    for key, signature in ((former, signed.by_former), (rotation.key, signed.by_key)):
        key.verify(decode_base64(signature, what), message, what)
    return rotation


def check_succession(succession: tuple[SignedRotation, ...], what: str) -> None:
    """Raise MalformedError unless each rotation follows the one before it: site, key, epoch, place."""
    for before, after in pairwise(one.rotation for one in succession):
        if (
            after.site != before.site
            or after.former != before.key.keyid
            or after.key_epoch != before.key_epoch + 1
            or after.after_seq < before.after_seq
        ):
            problem = f"the rotation to key epoch {after.key_epoch} does not follow its predecessor"
            raise MalformedError(problem, where=what, finding="report-contradiction")


def follow(
    site: str, key: PublicKey, epoch: int, succession: Iterable[SignedRotation], what: str = "report"
) -> tuple[Rotation, ...]:
    """Return the rotations after ``key``, each verified; empty when there is none.

    ``key`` and ``epoch`` are the newest that the caller trusts for ``site``. Raises as ``verify_rotation``.
    """
    followed = []
    for signed in succession:
        if signed.rotation.key_epoch <= epoch:
            continue
        if signed.rotation.site != site or signed.rotation.key_epoch != epoch + 1:
            raise UntrustedError(
                f"rotation is to key {signed.rotation.key_epoch} of {signed.rotation.site}, expected key {epoch + 1} "
                f"of {site}",
                where=what,
                remedy="import the reports between, or ask the site for its newest report",
                finding="rotation-gap",
            )
        rotation = verify_rotation(signed, key, what)
        followed.append(rotation)
        key, epoch = rotation.key, rotation.key_epoch
    return tuple(followed)


class _Identity(msgspec.Struct, frozen=True):
    succession: tuple[SignedRotation, ...] = ()


class _Report(msgspec.Struct, frozen=True):
    identity: _Identity


class _Claim(msgspec.Struct, frozen=True):
    predicate: _Report


def claimed_succession(data: bytes) -> tuple[SignedRotation, ...]:
    """Return the rotations that a report file claims, unverified. Never raises.

    Call ``follow`` with the enrolled key, then verify the report with the last key.
    """
    try:
        bundle = decode(data, SigstoreBundle, "report")
        return decode(decode_base64(bundle.envelope.payload, "report"), _Claim, "report").predicate.identity.succession
    except WaybillError:
        return ()
