"""Another key for the site: a rotation is signed by the old key, a renewal is not.

The new key is written beside the old one. The journal entry puts it in force; the rename over the old key follows. So
a crash leaves the site with the old key or the new one.
"""

from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from manifests.documents.enrolment import Renewed, RenewReason, sign_enrolment, verify_enrolment
from manifests.trust.keys import PublicKey
from manifests.trust.private_keys import FileSigner, encode_private, generate_key
from manifests.trust.rotation import MAX_SUCCESSION, Rotation, sign_rotation
from manifests.words.canonical import encode
from manifests.words.errors import RefusedError
from verifier.reporting.report_write import take_over
from verifier.site.folder import NEXT_KEY, Site
from verifier.site.journal.events import KeyRenewed, KeyRotated
from verifier.site.outbox import enrolment_path, finish_key


@dataclass(frozen=True)
class NewKey:
    """Attributes: enrolment: the file to carry to support, after a renewal."""

    key: PublicKey
    key_epoch: int
    enrolment: Path | None = None


def rotate_key(site: Site) -> NewKey:
    """Give a held site another key, signed by the current key.

    Raises:
        RefusedError: Support has not acknowledged the last eight changes.
        DamagedError: The old key is missing; only a renewal is possible.
    """
    finish_key(site)
    take_over(site)
    state = site.state
    acknowledged = state.reports.acknowledged[0] if state.reports.acknowledged else 0
    if sum(one.after >= acknowledged for one in state.reports.former_keys) >= MAX_SUCCESSION:
        raise RefusedError(
            f"{MAX_SUCCESSION} key changes are not acknowledged by support",
            where="keys",
            remedy="carry a report to support, then receive the consignment that acknowledges it",
            finding="rotations-untold",
        )
    old, new = site.signer(), _next_key(site)
    rotation = Rotation(
        site=state.site,
        former=old.public.keyid,
        key=new.public,
        key_epoch=state.key_epoch + 1,
        after_seq=state.reports.seq,
        after=state.reports.head or state.reports.enrolment or "",
        made_at=site.host.stamp(),
    )
    document = site.keep_document(encode(sign_rotation(rotation, old, new)))
    site.record(KeyRotated(key=new.public, key_epoch=rotation.key_epoch, rotation=document))
    finish_key(site)
    return NewKey(new.public, rotation.key_epoch)


def renew_key(site: Site, reason: RenewReason) -> NewKey:
    """Give a held site another key without the old key's signature; support must accept its enrolment.

    The old key is not used even if it exists: a copy of it may have signed other reports.
    """
    finish_key(site)
    state, new = site.state, _next_key(site)
    former = verify_enrolment(site.document(state.reports.enrolment or "")).enrolment
    enrolment = sign_enrolment(
        replace(
            former,
            key=new.public,
            key_epoch=state.key_epoch + 1,
            root=replace(state.trust.root, version=max(state.trust.root.version, 1)),
            channel=state.channel,
            created_at=site.host.stamp(),
            policy=former.policy or state.trust.first_policy,
            renews=Renewed(
                reason=reason,
                former=state.site_key.keyid,
                former_epoch=state.key_epoch,
                last_seq=state.reports.seq,
                last=state.reports.head,
            ),
        ),
        new,
    )
    digest = site.keep_document(enrolment)
    site.record(KeyRenewed(key=new.public, key_epoch=state.key_epoch + 1, reason=reason, enrolment=digest))
    finish_key(site)
    return NewKey(new.public, state.key_epoch + 1, enrolment_path(site))


def _next_key(site: Site) -> FileSigner:
    """Write a new key beside the old one, durable. One that a crash left there was never in force; it is replaced."""
    signer = generate_key()
    site.disk.write(site.path / "keys" / NEXT_KEY, encode_private(signer, None), 0o600)
    return signer
