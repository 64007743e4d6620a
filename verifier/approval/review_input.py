"""What a review is made from: the plan and the documents that it names, read from the site's folder."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from content.differences.compare_values import show_values
from content.differences.release_documents import (
    DocumentNote,
    ReadBlob,
    ReleaseDocuments,
    read_release_documents,
    with_release_notes,
)
from content.trust.head import VerifiedHead
from manifests.documents.authorisation import SignedAuthorisation
from manifests.documents.handler_use import HandlerUse
from manifests.documents.plan import Plan
from manifests.documents.policy import Policy
from manifests.documents.release import Handler, Release
from manifests.documents.report_text import report_lines
from manifests.trust.image_keys import load_carried
from manifests.words.canonical import encode
from manifests.words.errors import WaybillError
from manifests.words.units import show_size
from verifier.approval.items import AnyItem
from verifier.approval.policy_change import PolicyChange
from verifier.change.clearing import Clearing, plan_clearing
from verifier.change.consequences import findings_of_change
from verifier.change.driver_steps import DriverStep, LoadDriver, plan_steps
from verifier.change.forecast import Forecast, forecast
from verifier.change.handlers import UseRequest
from verifier.change.host_check import check_host
from verifier.change.reachable import rollbacks_alone, rollbacks_text
from verifier.change.route import Route
from verifier.change.site_check import CheckPrograms, check_site
from verifier.change.space import SpaceNeed, space_needs
from verifier.change.values import Change
from verifier.rules.agreement import tight_roles
from verifier.runtime.preflight.result import PreflightResult
from verifier.site.folder import Site
from verifier.site.generations import read_installed
from verifier.site.journal.installs import Generation
from verifier.site.outbox import read_report, report_history, reports_to_carry
from verifier.site.releases import read_kept_head, release_of, revoked_for_ever
from verifier.site.unread import attempt
from verifier.site.vendor_access import offboarding_consequences
from verifier.trust.findings import Finding


@dataclass(frozen=True)
class ReleaseSigners:
    """Who signed a release; ``by`` is the root with which that was verified, in words, empty without verification."""

    release: str
    signers: tuple[str, ...]
    practice: bool
    by: str


@dataclass(frozen=True)
class ReviewedHost:
    """The host when the review was made: space for the change, and what the releases need with what was observed."""

    rooms: tuple[SpaceNeed, ...] | None
    checks: tuple[PreflightResult, ...]


@dataclass(frozen=True)
class ReviewInput:
    """Everything from which a review is made.

    Attributes:
        policy: The policy in force; ``proposed`` is the one that the plan would put in force.
        before: The running release; None before the first install.
        releases: The releases of the plan in order; the last one will run.
        between: Releases between the running one and the last one of these, if the site holds them.
        work: What will be done, in the order of the machine, one line each.
        authorised: For a rollback below the floor, the vendor's authorisation.
        more_leaves: Telemetry that leaves under the new ``site.yaml`` and did not before.
        rooms: Free space and need for each file system; None when it was not measured.
        host: What the releases need of the host, each with what was observed.
        unread: Releases that could not be read, one line each.
        use: The use of a handler, and its ``definition``; None for anything else.
    """

    item: str
    plan: Plan
    policy: Policy
    before: ReleaseDocuments | None = None
    releases: tuple[ReleaseDocuments, ...] = ()
    between: tuple[Release, ...] = ()
    proposed: Policy | None = None
    signers: tuple[ReleaseSigners, ...] = ()
    work: tuple[str, ...] = ()
    authorised: SignedAuthorisation | None = None
    more_leaves: tuple[str, ...] = ()
    rooms: tuple[SpaceNeed, ...] | None = None
    host: tuple[PreflightResult, ...] = ()
    findings: tuple[Finding, ...] = ()
    unread: tuple[str, ...] = ()
    use: HandlerUse | None = None
    definition: Handler | None = None


def read_review_input(
    site: Site,
    asked: AnyItem,
    load: LoadDriver,
    read: ReadBlob | None = None,
    check_programs: CheckPrograms | None = None,
) -> ReviewInput:
    """Read everything from which the review of ``asked`` is made; ``read`` reads documents, by default from the store.

    What this site lacks for it comes first among the findings.
    """
    if isinstance(asked, Change | Route):
        hops = asked.hops if isinstance(asked, Route) else (asked,)
        host = check_host(site, hops, load)
        missing = (*check_site(site, hops, load, check_programs), *host.findings)
        review_input = _of_releases(site, asked, load, read or site.store.get)
        lacks = tuple(Finding(finding.error.finding, "warning", finding.text) for finding in missing)
        return replace(review_input, host=host.results, findings=(*lacks, *review_input.findings))
    review_input = ReviewInput(item=asked.item, plan=asked.plan, policy=site.policy)
    if isinstance(asked, PolicyChange):
        return replace(review_input, proposed=asked.proposed, findings=tuple(_tight(asked.proposed)))
    if isinstance(asked, UseRequest):
        work = tuple(_use_lines(asked))
        return replace(review_input, use=asked.use, definition=asked.known.handler, work=work)
    if asked.plan.action == "offboard":
        done, forever = offboarding_consequences(site.state)
        if revoked := revoked_for_ever(site):
            forever = (revoked, *forever)
        possible, why = rollbacks_alone(site)
        if not possible:
            forever = (*forever, f"no rollback is possible then, and no release can come that allows one: {why}")
        return replace(
            review_input,
            work=(*done, rollbacks_text(site)),
            findings=tuple(Finding("for-ever", "warning", one) for one in forever),
        )
    return replace(review_input, work=tuple(_leaves(site)))


def findings_to_weigh(site: Site, asked: Change | Route, load: LoadDriver) -> tuple[Finding, ...]:
    """Return what the approvers of ``asked`` must weigh, without what this site lacks for it."""
    return _of_releases(site, asked, load, site.store.get).findings


def _leaves(site: Site) -> Iterator[str]:
    """Yield what leaves with the newest report, one line each."""
    state = site.state
    if state.reports.head is None:
        raise ValueError("no report could leave")
    signed = read_report(site, state.reports.seq, state.reports.head)
    yield f"report {state.reports.seq} leaves, {show_size(len(signed.raw))}, {signed.digest}"
    *before, _ = reports_to_carry(site, report_history(site))
    if before:
        yield f"reports from {before[0].seq} on leave with it; the vendor has not acknowledged them"
    yield from report_lines(signed.report)


def _use_lines(asked: UseRequest) -> Iterator[str]:
    """Yield what the use of a handler would do, why, and what leaves the site, one line each."""
    requested, use = asked.requested, asked.use
    yield f"run {use.words}"
    if requested.consignment:
        yield f"support asks for it: request {requested.request} of consignment {requested.consignment}"
        yield f"why: {asked.why}" if asked.why else "why: support states no reason"
    else:
        yield f"asked for here by the account {requested.account}"
    by = "this verifier" if asked.known.release is None else f"release {asked.known.release.version}"
    yield f"the handler is one of {by}, definition {use.definition}"
    leaves = "the outcome leaves with the next report" if requested.consignment else "the outcome stays here"
    if asked.signal is None:
        yield f"{leaves}; no value leaves"
    else:
        bounds = ", ".join(f"{name} {show_values(values)}" for name, values in sorted(asked.signal.fields.items()))
        yield f"{leaves}; signal {asked.signal.name} leaves with it: {bounds}"


def _tight(policy: Policy) -> Iterator[Finding]:
    """Warn of each role whose rules can no longer be met after the loss of one key."""
    for role, people, kinds in tight_roles(policy):
        who = f"all {people} people of role {role}" if people > 1 else f"the only person of role {role}"
        alone = "" if policy.proposer_counts else ", also when one of them proposed the change and does not count"
        yield Finding("tight-quorum", "warning", f"{', '.join(kinds)}: needs {who}{alone}")


def _weak_signers(hop: Change) -> Iterator[Finding]:
    """Warn of each signer of images whose key is weaker than it should be today."""
    names = {image.signed_by for image in hop.release.images if image.signed_by in hop.release.signers}
    for name in sorted(names):
        signer = hop.release.signers[name]
        if signer.key is not None and (weakness := load_carried(signer.key, f"signer {name}").weakness):
            yield Finding("weak", "warning", f"{hop.release.version}: images are signed by {name}: {weakness}")


def _left_before(site: Site, hop: Change) -> Iterator[Finding]:
    """Warn when the release was rolled back here before, with the reason."""
    left = site.state.installs.last_rollback_from(hop.planned.release) if hop.action == "install" else None
    if left is not None:
        yield Finding("left-before", "warning", f"{hop.release.version}: {left.words}")


def _of_releases(site: Site, asked: Change | Route, load: LoadDriver, read: ReadBlob) -> ReviewInput:
    """Return the input for an install, a new config or a rollback. Driver steps are planned, not carried out."""
    hops = asked.hops if isinstance(asked, Route) else (asked,)
    change = hops[-1]
    steps_of_hops = tuple(plan_steps(site, hop.installed, load) for hop in hops)
    running = site.state.installs.running
    digests = () if change.action == "rollback" else tuple(hop.planned.release for hop in hops)
    signers = tuple(release_signers(read_kept_head(site, digest)) for digest in dict.fromkeys(digests))
    before, same = None, same_images(None, change.release)
    steps_before: tuple[DriverStep, ...] = ()
    if running is not None:
        release = release_of(site, running)
        same = same_images(release, change.release)
        before = _with_settings(site, running, read_release_documents(release, running.release, read, same=same))
        installed = attempt(lambda: read_installed(site, running), [])
        # Without its files the steps of the running generation are unknown; then a warning of the plan says so.
        steps_before = plan_steps(site, installed, load) if installed is not None else ()
    last = read_release_documents(
        change.release,
        change.planned.release,
        read,
        config=change.installed.config,
        # The settings are ``site.yaml`` without its config, which is compared separately.
        settings=change.settings or encode(change.installed.settings),
        same=same,
    )
    last = with_release_notes(last, read)
    passed = (
        with_release_notes(read_release_documents(hop.release, hop.planned.release, read, same=None), read)
        for hop in hops[:-1]
    )
    between, lost = _between(site, change, digests)
    several = len(hops) > 1
    outlook = forecast(site.state, hops, steps_before, steps_of_hops)
    clearing = plan_clearing(site, outlook.state.installs, change.installed.settings.keep.generations)
    return ReviewInput(
        item=" ".join(hop.item for hop in hops),
        plan=asked.plan,
        policy=site.policy,
        before=before,
        releases=(*passed, last),
        between=between,
        signers=signers,
        work=(
            *(
                f"{f'{hop.release.version}: ' if several else ''}{line}"
                for hop, acts in zip(hops, outlook.acts, strict=True)
                for act in acts
                for line in act.words
            ),
            *(f"once it is confirmed, {line}" for line in clearing.words),
        ),
        authorised=change.authorised,
        more_leaves=tuple(words for hop in hops for words in hop.more_leaves),
        rooms=space_needs(site, hops, steps_of_hops),
        findings=tuple(_findings(site, hops, outlook, clearing)),
        unread=lost,
    )


def _findings(site: Site, hops: tuple[Change, ...], outlook: Forecast, clearing: Clearing) -> Iterator[Finding]:
    """Yield what the approvers must weigh.

    That a rollback leads below the floor comes first, then what is not known about it, then what is.
    """
    stated = [finding for hop in hops for finding in hop.findings]
    back = hops[-1].action == "rollback"
    weighed = findings_of_change(site, hops, outlook, clearing)
    below = [finding for finding in weighed if finding.id == "leads-below-floor"]
    yield from below
    yield from stated if back else ()
    yield from (finding for finding in weighed if finding not in below)
    for hop in hops:
        yield from _weak_signers(hop)
    for hop in hops:
        yield from _left_before(site, hop)
    yield from () if back else stated


def _with_settings(site: Site, running: Generation, documents: ReleaseDocuments) -> ReleaseDocuments:
    """Return ``documents`` with config and settings of the running generation, or with the reason why not."""
    failures: list[WaybillError] = []
    installed = attempt(lambda: read_installed(site, running), failures)
    if installed is not None:
        return replace(documents, config=installed.config, settings=encode(installed.settings))
    what, text = f"configuration of generation {running.number}", str(failures[0])
    notes = (DocumentNote(part, "unread", what, text) for part in ("config", "settings"))
    return replace(documents, notes=(*notes, *documents.notes))


def release_signers(head: VerifiedHead) -> ReleaseSigners:
    """Return who signed the release, and with which root that was verified."""
    root = head.chain.newest
    return ReleaseSigners(
        head.release_digest, head.signers, head.practice, f"verified with root {root.version} of {root.vendor}"
    )


def _between(site: Site, change: Change, passed: tuple[str, ...]) -> tuple[tuple[Release, ...], tuple[str, ...]]:
    """Return the received releases of the channel between the running and the new one, and those not readable.

    Those that are installed on the way, ``passed``, are left out.
    """
    running = site.state.installs.running
    if running is None or running.channel != change.release.channel:
        return (), ()
    low, high = sorted((running.mark, change.release.mark))
    between, lost = [], []
    for received in site.state.installs.releases:
        if received.channel == running.channel and low < received.mark < high and received.release not in passed:
            try:
                between.append(read_kept_head(site, received.release).release)
            except WaybillError as error:
                lost.append(f"intermediate release {received.version}: {error.problem}")
    return tuple(between), tuple(lost)


def same_images(before: Release | None, after: Release) -> frozenset[str]:
    """Return the names of the images that are identical in both releases; their content need not be compared."""
    return frozenset(image.name for image in after.images if before and image in before.images)
