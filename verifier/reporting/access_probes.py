"""Negative probes: what this site really believed before, tried once more after its vendor's access was ended.

Each goes through the very functions that would take it in. Only the refusal of trust proves anything: a kind of which
the site never held one is *unproven*, and never counted as refused.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from content.bundle.head import open_head
from manifests.documents.plan import parse_plan
from manifests.documents.report import ArtefactKind
from manifests.words.digest import digest_of
from manifests.words.errors import DamagedError, HostError, MalformedError, UntrustedError, WaybillError
from verifier.change.route import plan_change
from verifier.intake.consignments import peek_consignment_file, receive_consignment
from verifier.site.folder import Site
from verifier.site.journal.chain import one_line
from verifier.site.journal.events import Consigned, Tried
from verifier.site.journal.state import RecordedVerdict
from verifier.site.release_heads import head_path, read_kept_head
from verifier.site.vendor_access import MAX_PROBES
from verifier.site.vendor_trust import own_chain

KINDS: tuple[ArtefactKind, ...] = ("approval", "bundle", "consignment", "request", "signature")
# Of each kind the newest; together they fit into one report.
MAX_EACH = MAX_PROBES // len(KINDS)


@dataclass(frozen=True)
class AccessProbe:
    """Something to try.

    Attributes:
        digest: Of its bytes, as they were accepted.
        attempt: Returns when the site still believes it, raises as it would for anybody who came with it.
    """

    kind: ArtefactKind
    digest: str
    attempt: Callable[[], object]


def access_probes(site: Site) -> Iterator[AccessProbe]:
    """What this site once accepted and still holds, newest first."""
    for received in reversed(site.state.installs.releases):
        path = head_path(site, received.release)
        if path.is_file():
            yield AccessProbe("bundle", received.release, partial(read_kept_head, site, received.release))
            yield from _signatures(site, path)
    notes = [one for one in _events(site) if isinstance(one, Consigned)]
    for note in reversed(notes):
        path = site.document_path(note.digest)
        if not path.is_file():
            continue
        yield AccessProbe("consignment", note.digest, partial(_take_in, site, path))
        if note.answers:
            yield AccessProbe("request", note.digest, partial(_take_in, site, path))
    for verdict in reversed(site.state.trust.verdicts):
        release = _agreed_release(site, verdict) if verdict.verdict == "approve" else None
        if release is not None:
            yield AccessProbe("approval", verdict.envelope, partial(_use_approval, site, verdict.item, release))


def _agreed_release(site: Site, verdict: RecordedVerdict) -> str | None:
    """The release that a person agreed to install; None for a rollback, an export, or a plan that is gone."""
    try:
        plan = parse_plan(site.document(verdict.plan))
    except WaybillError:
        return None
    return plan.releases[-1] if plan.action == "install" and plan.releases else None


def _signatures(site: Site, path: Path) -> Iterator[AccessProbe]:
    """A signature by the vendor's key, apart from the bundle that it was on: does any key that counts here match it?"""
    try:
        head = open_head(path)
    except WaybillError:
        return
    for signature in head.signatures:
        # An identity has no key that could be tried apart from its bundle; the release as a whole is.
        if signature.sig is not None:
            yield AccessProbe(
                "signature",
                digest_of(signature.sig),
                partial(_believe, site, signature.keyid, signature.sig, head.release),
            )


def _take_in(site: Site, path: Path) -> None:
    receive_consignment(site, peek_consignment_file(path))


def _believe(site: Site, keyid: str, signature: bytes, message: bytes) -> None:
    key = own_chain(site).key(keyid)
    if key is None:
        raise UntrustedError(
            f"no key of this site's vendor is {keyid[:16]}", where="trust", finding="signature-unknown"
        )
    key.verify(signature, message, "signature")


def _use_approval(site: Site, item: str, release: str) -> None:
    """People agreed to this once; what they agreed to is only installed when its release is believed."""
    read_kept_head(site, release)
    plan_change(site, item)


def _events(site: Site) -> Iterator[object]:
    return (entry.record.event for entry in site.entries)


def run_access_probes(site: Site) -> tuple[Tried, ...]:
    """Try what was not tried yet, and record each outcome; of a held site whose vendor's access was ended.

    Returns:
        All of them, also those of an earlier attempt that was cut short.
    """
    offboarding = site.state.offboarding
    if offboarding is None or offboarding.done is None:
        raise RuntimeError("the vendor's access was not ended")
    count = {kind: sum(one.kind == kind for one in offboarding.tried) for kind in KINDS}
    known = {(one.kind, one.artefact) for one in offboarding.tried}
    for probe in access_probes(site):
        if count[probe.kind] < MAX_EACH and (probe.kind, probe.digest) not in known:
            known.add((probe.kind, probe.digest))
            tried = _try(probe)
            if tried is not None:
                count[probe.kind] += 1
                site.record(tried)
    for kind in KINDS:
        if not count[kind]:
            site.record(Tried(kind=kind, outcome="unproven", detail="this site never held one"))
    after = site.state.offboarding
    return after.tried if after else ()


def _try(probe: AccessProbe) -> Tried | None:
    """What became of it; None for one that is damaged, whose refusal would say nothing."""
    try:
        probe.attempt()
    except UntrustedError as error:
        return Tried(
            kind=probe.kind,
            artefact=probe.digest,
            outcome="refused",
            finding=error.finding,
            detail=one_line(error.problem),
        )
    except (DamagedError, HostError, MalformedError):
        return None
    except WaybillError as error:
        # Refused for another reason than trust: the same thing might be believed tomorrow.
        return Tried(kind=probe.kind, artefact=probe.digest, outcome="accepted", detail=one_line(error.problem))
    return Tried(kind=probe.kind, artefact=probe.digest, outcome="accepted", detail="still believed")
