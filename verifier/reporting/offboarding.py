"""End a vendor's access: request, approvals, the end, access probes, the final report.

Data, images, running software, journal and local rollback stay. One journal entry is the end; everything after it can
be repeated, so after an interruption the same command is run again.

An access probe passes a document that this site accepted before to the function that accepted it. Only an untrusted
document counts as refused. A kind of which the site never held a document is *unproven*.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from content.bundle.head import open_head
from manifests.documents.plan import parse_plan
from manifests.documents.report import ArtefactKind
from manifests.trust.private_keys import Signer
from manifests.words.digest import digest_of
from manifests.words.errors import AttentionError, DamagedError, HostError, MalformedError, UntrustedError, WaybillError
from verifier.approval.approve import VerdictRequest, give_verdict
from verifier.approval.items import offboard_request
from verifier.approval.verdicts import approval_status
from verifier.change.item_ids import OFFBOARD
from verifier.change.route import plan_change
from verifier.change.transaction import check_idle
from verifier.intake.consignments import peek_consignment_file, receive_consignment
from verifier.reporting.report_write import take_over, write_report
from verifier.rules.agreement import require_approvals
from verifier.runtime.drivers.driver import load_driver
from verifier.site.folder import EVIDENCE, NEXT_KEY, SITE_KEY, Site
from verifier.site.journal.chain import one_line
from verifier.site.journal.events import Alarm, Consigned, OffboardAsked, OffboardDone, Offboarded, Tried
from verifier.site.outbox import report_path
from verifier.site.releases import head_path, read_kept_head
from verifier.site.vendor_access import MAX_PROBES, check_served
from verifier.site.vendor_trust import own_chain

KINDS: tuple[ArtefactKind, ...] = ("approval", "bundle", "consignment", "request", "signature")
# The newest documents of each kind; the results of all fit into one report.
MAX_EACH = MAX_PROBES // len(KINDS)


@dataclass(frozen=True)
class OffboardResult:
    """Attributes: report: path of the final report; error: names the documents that are still accepted."""

    report: Path
    error: WaybillError | None


def ask_offboarding(site: Site, reason: str) -> bool:
    """Request the end of the vendor's access; the reason ``retired`` also destroys the site's key at the end.

    Returns:
        False when the same was requested already.

    Raises:
        RefusedError: The access was ended already.
    """
    check_served(site.state)
    wanted = OffboardAsked(reason="retired" if reason == "retired" else "ended", detail=reason)
    if site.state.offboarding is not None and site.state.offboarding.asked == wanted:
        return False
    site.record(wanted)
    return True


def agree_offboarding(site: Site, signer: Signer) -> None:
    """Record one person's approval, as `waybill approve offboard` does."""
    give_verdict(site, signer, VerdictRequest((OFFBOARD,), "approve"), load_driver)


def end_access(site: Site) -> None:
    """Record the end of the access once the required people have approved it; ``finish_offboarding`` does the rest.

    Raises:
        WaitingError: Approvals are missing.
        RefusedError: Another change is under way.
        DamagedError: The site's key is missing, so the final report cannot be signed.
    """
    check_idle(site)
    question = offboard_request(site)
    counted = approval_status(site, question)
    require_approvals(counted, OFFBOARD)
    site.signer()
    take_over(site)
    offboarding = site.state.offboarding
    if offboarding is None:
        raise AssertionError("the plan has no request")
    site.record(
        Offboarded(
            reason=offboarding.asked.reason,
            plan=question.plan.digest,
            approvals=tuple(one.digest for one in counted.approvals),
        )
    )


def finish_offboarding(site: Site, now: datetime) -> OffboardResult:
    """Do what follows the end, from the step at which it was interrupted.

    Steps: 1 move the roots to the evidence; 2 run the access probes; 3 write the final report; 4 destroy the key of a
    site that retires; 5 record that all of it is done.
    """
    _set_aside(site)  # 1
    error = _prove(site)  # 2
    take_over(site)  # 3: a report that was written and not journalled is the final one
    state = site.state.offboarding
    if state is not None and state.final is None:
        write_report(site, site.disk, now, cause="offboarded")
    retires = state is not None and state.asked.reason == "retired"
    if retires:  # 4
        for name in (NEXT_KEY, SITE_KEY):
            site.disk.remove(site.path / "keys" / name)
        site.disk.sync_folder(site.path / "keys")
    state = site.state.offboarding
    if state is None or state.final is None:
        raise AssertionError("the final report was written")
    if state.ended is None:  # 5
        site.record(OffboardDone(report=state.final, key="destroyed" if retires else "kept"))
    return OffboardResult(report_path(site, state.final), error)


def _set_aside(site: Site) -> None:
    """Move the vendor's roots to a folder that nothing reads: one rename, so a crash leaves them in one place."""
    trust, evidence = site.path / "trust", site.path / EVIDENCE
    if trust.is_dir() and not evidence.exists():
        site.disk.rename(trust, evidence)
        site.disk.sync_folder(site.path)
    site.disk.make_folder(trust)


def _prove(site: Site) -> WaybillError | None:
    accepted = [probe for probe in run_access_probes(site) if probe.outcome == "accepted"]
    for probe in accepted:
        if all(alarm.digest != probe.artefact for alarm in site.state.alarms):
            site.record(Alarm(code="still-believed", digest=probe.artefact, detail=f"{probe.kind}: {probe.detail}"))
    if not accepted:
        return None
    return AttentionError(
        f"still accepted here: {', '.join(probe.kind for probe in accepted)}",
        where="trust",
        remedy="keep the folder as it is and report this to the maker of this verifier",
        finding="still-believed",
    )


def run_access_probes(site: Site) -> tuple[Tried, ...]:
    """Run the probes that have no result yet, and record each result; ``site`` is held and its access was ended.

    Returns:
        All results, those of an earlier interrupted run included.
    """
    offboarding = site.state.offboarding
    if offboarding is None or offboarding.done is None:
        raise RuntimeError("the vendor's access was not ended")
    count = {kind: sum(one.kind == kind for one in offboarding.tried) for kind in KINDS}
    known = {(one.kind, one.artefact) for one in offboarding.tried}
    for kind, digest, attempt in _access_probes(site):
        if count[kind] < MAX_EACH and (kind, digest) not in known:
            known.add((kind, digest))
            tried = _try(kind, digest, attempt)
            if tried is not None:
                count[kind] += 1
                site.record(tried)
    for kind in KINDS:
        if not count[kind]:
            site.record(Tried(kind=kind, outcome="unproven", detail="this site never held one"))
    after = site.state.offboarding
    return after.tried if after else ()


def _try(kind: ArtefactKind, digest: str, attempt: Callable[[], object]) -> Tried | None:
    """Return the result of a probe; None for a damaged document, whose refusal proves nothing."""
    try:
        attempt()
    except UntrustedError as error:
        detail = one_line(error.problem)
        return Tried(kind=kind, artefact=digest, outcome="refused", finding=error.finding, detail=detail)
    except (DamagedError, HostError, MalformedError):
        return None
    except WaybillError as error:
        # Refused for a reason other than trust: the same document may be accepted tomorrow.
        return Tried(kind=kind, artefact=digest, outcome="accepted", detail=one_line(error.problem))
    return Tried(kind=kind, artefact=digest, outcome="accepted", detail="still believed")


_AccessProbe = tuple[ArtefactKind, str, Callable[[], object]]


def _access_probes(site: Site) -> Iterator[_AccessProbe]:
    """Return kind, digest and attempt of each document that this site accepted and still holds, newest first.

    The attempt returns if the site still accepts the document, and raises as the first acceptance would.
    """
    for received in reversed(site.state.installs.releases):
        path = head_path(site, received.release)
        if path.is_file():
            yield "bundle", received.release, partial(read_kept_head, site, received.release)
            yield from _signatures(site, path)
    for entry in reversed(tuple(site.entries)):
        event = entry.record.event
        if not isinstance(event, Consigned) or not site.document_path(event.digest).is_file():
            continue
        attempt = partial(_receive_again, site, site.document_path(event.digest))
        yield "consignment", event.digest, attempt
        if event.answers:
            yield "request", event.digest, attempt
    for verdict in reversed(site.state.trust.verdicts):
        if verdict.verdict != "approve":
            continue
        try:
            plan = parse_plan(site.document(verdict.plan))
        except WaybillError:
            continue
        if plan.action == "install" and plan.releases:
            yield "approval", verdict.envelope, partial(_use_approval, site, verdict.item, plan.releases[-1])


def _signatures(site: Site, path: Path) -> Iterator[_AccessProbe]:
    """Probe each signature by a vendor's key apart from its bundle."""
    try:
        head = open_head(path)
    except WaybillError:
        return
    for signature in head.signatures:
        # An identity has no key that can be tried apart from its bundle; the probe of the bundle covers it.
        if signature.sig is not None:
            attempt = partial(_verify_signature, site, signature.keyid, signature.sig, head.release)
            yield "signature", digest_of(signature.sig), attempt


def _receive_again(site: Site, path: Path) -> None:
    receive_consignment(site, peek_consignment_file(path))


def _verify_signature(site: Site, keyid: str, signature: bytes, message: bytes) -> None:
    key = own_chain(site).key(keyid)
    if key is None:
        raise UntrustedError(
            f"no key of this site's vendor is {keyid[:16]}", where="trust", finding="signature-unknown"
        )
    key.verify(signature, message, "signature")


def _use_approval(site: Site, item: str, release: str) -> None:
    """Use an approval as `install` does: the release must be trusted before its plan is made."""
    read_kept_head(site, release)
    plan_change(site, item)
