"""What a person must know before agreeing: one value, worked out from a plan and the documents that it names. Pure.

The same value is shown at the site and at an approver's desk; `review_paper` turns it into text or a page.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from content.trust.head import VerifiedHead
from manifests.documents.authorisation import SignedAuthorisation
from manifests.documents.plan import Plan
from manifests.documents.policy import Policy
from manifests.documents.release import Release
from manifests.documents.report_text import report_lines
from manifests.trust.root import Mark
from manifests.words.canonical import encode
from manifests.words.errors import WaybillError
from manifests.words.units import show_size
from verifier.approval.items import AnyItem
from verifier.approval.policy_change import PolicyChange
from verifier.approval.release_documents import ALL_IMAGES, ReadBlob, ReleaseDocuments, read_release_documents
from verifier.change.driver_steps import LoadDriver
from verifier.change.install_plan import driver_steps_for
from verifier.change.route import Route
from verifier.change.space import SpaceNeed, space_needs
from verifier.change.values import Change
from verifier.rules.agreement import tight_roles
from verifier.site.folder import Site
from verifier.site.generations import read_installed
from verifier.site.journal.installs import Generation
from verifier.site.release_heads import read_kept_head
from verifier.site.report_files import read_report, report_history, reports_to_carry
from verifier.site.vendor_access import offboarding_consequences
from verifier.trust.findings import Finding


@dataclass(frozen=True)
class ReleaseSigners:
    """Who vouches for a release. Attributes: by: who verified that, in words; empty where nobody was asked."""

    release: str
    signers: tuple[str, ...]
    practice: bool
    by: str


@dataclass(frozen=True)
class ReviewInput:
    """Everything that a review is made of.

    Attributes:
        before: What runs now; None before the first install.
        way: The releases of the plan in order; the last one is to run.
        between: Releases that a way back gives up besides the one that runs, as far as the site holds them.
        policy: The one in force; ``proposed``: the one that the plan would put in force.
        vouched: For each release of ``way``.
        work: What the drivers will do, in words.
        authorised: Of a way back below the floor: the vendor's permission.
        more_leaves: What ``site.yaml`` lets leave that did not leave before, in words.
        rooms: Space; None where nobody looked.
        unread: What should have been looked at besides, and could not be read.
    """

    item: str
    plan: Plan
    policy: Policy
    before: ReleaseDocuments | None = None
    way: tuple[ReleaseDocuments, ...] = ()
    between: tuple[Release, ...] = ()
    proposed: Policy | None = None
    vouched: tuple[ReleaseSigners, ...] = ()
    work: tuple[str, ...] = ()
    authorised: SignedAuthorisation | None = None
    more_leaves: tuple[str, ...] = ()
    rooms: tuple[SpaceNeed, ...] | None = None
    findings: tuple[Finding, ...] = ()
    unread: tuple[str, ...] = ()


def read_review_input(site: Site, asked: AnyItem, load: LoadDriver, read: ReadBlob | None = None) -> ReviewInput:
    """Everything that people judge ``asked`` by.

    Args:
        read: Instead of the store, when whoever asks wants to know what was read.

    Raises:
        RefusedError: This site lacks a driver that a release needs.
    """
    if isinstance(asked, Change | Route):
        return _of_releases(site, asked, load, read or store_reader(site))
    matter = ReviewInput(item=asked.item, plan=asked.plan, policy=site.policy)
    if isinstance(asked, PolicyChange):
        return replace(matter, proposed=asked.proposed, findings=tuple(_tight(asked.proposed)))
    if asked.plan.action == "offboard":
        done, forever = offboarding_consequences(site.state)
        return replace(matter, work=done, findings=tuple(Finding("for-ever", "warning", one) for one in forever))
    return replace(matter, work=tuple(_leaves(site)))


def _leaves(site: Site) -> Iterator[str]:
    """What the newest report would carry out, and how it may leave."""
    state = site.state
    if state.reports.head is None:
        raise ValueError("no report could leave")
    signed = read_report(site, state.reports.seq, state.reports.head)
    yield f"report {state.reports.seq} leaves, {show_size(len(signed.raw))}, {signed.digest}"
    *before, _ = reports_to_carry(site, report_history(site))
    if before:
        yield f"with it go those from report {before[0].seq} on, which home is not known to hold"
    yield from report_lines(signed.report)


def _tight(policy: Policy) -> Iterator[Finding]:
    """Where one lost key is enough, and only the way out of a lost quorum leads on."""
    for role, people, kinds in tight_roles(policy):
        who = f"all {people} people of role {role}" if people > 1 else f"the only person of role {role}"
        alone = "" if policy.proposer_counts else ", also when one of them brought it and does not count"
        yield Finding("tight-quorum", "warning", f"{', '.join(kinds)}: needs {who}{alone}")


def _left_before(site: Site, hops: tuple[Change, ...]) -> list[Finding]:
    """What became of these releases the last time that they ran here."""
    findings = []
    for hop in hops:
        left = site.state.installs.last_rollback_from(hop.planned.release) if hop.action == "install" else None
        if left is not None:
            findings.append(Finding("left-before", "warning", f"{hop.release.version}: {left.words}"))
    return findings


def store_reader(site: Site) -> ReadBlob:
    """Reads what the site holds."""
    return lambda blob, limit: site.store.get(blob, limit)


def _of_releases(site: Site, asked: Change | Route, load: LoadDriver, read: ReadBlob) -> ReviewInput:
    hops = asked.hops if isinstance(asked, Route) else (asked,)
    change = hops[-1]
    steps_of_hops = tuple(driver_steps_for(site, hop, load) for hop in hops)
    running = site.state.installs.running
    names = () if change.action == "rollback" else tuple(hop.planned.release for hop in hops)
    heads = {one: read_kept_head(site, one) for one in names}
    now = read_installed(site, running).release if running else None
    same = same_images(now, change.release)
    before = generation_documents(site, running, read, same) if running else None
    between, lost = _between(site, change, heads)
    several = len(hops) > 1
    return ReviewInput(
        item=" ".join(hop.item for hop in hops),
        plan=asked.plan,
        policy=site.policy,
        before=before,
        way=_way(hops, read, same),
        between=between,
        vouched=tuple(_vouched(one) for one in heads.values()),
        work=tuple(
            f"{f'{hop.release.version}: ' if several else ''}{work.step} ({work.driver.name}): {line}"
            for hop, crew in zip(hops, steps_of_hops, strict=True)
            for work in crew
            for line in work.plan.lines
        ),
        authorised=change.authorised,
        more_leaves=tuple(words for hop in hops for words in hop.more_leaves),
        rooms=space_needs(site, hops, steps_of_hops),
        findings=(*_left_before(site, hops), *(one for hop in hops for one in hop.findings)),
        unread=lost,
    )


def generation_documents(
    site: Site, generation: Generation, read: ReadBlob, same: frozenset[str] = frozenset()
) -> ReleaseDocuments:
    """An installed generation with what belongs to it; ``same`` as for ``read_release_documents``."""
    installed = read_installed(site, generation)
    return read_release_documents(
        installed.release,
        generation.release,
        read,
        config=installed.config,
        settings=encode(installed.settings),
        same=same,
    )


def _way(hops: tuple[Change, ...], read: ReadBlob, same: frozenset[str]) -> tuple[ReleaseDocuments, ...]:
    *passed, change = hops
    last = read_release_documents(
        change.release,
        change.planned.release,
        read,
        config=change.installed.config,
        # What site.yaml says besides its config, which stands by itself.
        settings=change.settings or encode(change.installed.settings),
        same=same,
    )
    return (*(read_release_documents(one.release, one.planned.release, read, same=ALL_IMAGES) for one in passed), last)


def _vouched(head: VerifiedHead) -> ReleaseSigners:
    root = head.chain.newest
    return ReleaseSigners(
        head.release_digest, head.signers, head.practice, f"verified with root {root.version} of {root.vendor}"
    )


def _between(site: Site, change: Change, heads: dict[str, VerifiedHead]) -> tuple[tuple[Release, ...], tuple[str, ...]]:
    """Releases of the channel between the one that runs and the one that is to run; they were received here once."""
    running = site.state.installs.running
    if running is None or running.channel != change.release.channel:
        return (), ()
    low, high = sorted((running.mark, change.release.mark), key=_order)
    between, lost = [], []
    for received in site.state.installs.releases:
        if received.channel == running.channel and low < received.mark < high and received.release not in heads:
            try:
                between.append(read_kept_head(site, received.release).release)
            except WaybillError as error:
                lost.append(f"release {received.version} in between: {error.problem}")
    return tuple(between), tuple(lost)


def _order(mark: Mark) -> tuple[int, int]:
    return mark.epoch, mark.sequence


def same_images(before: Release | None, after: Release) -> frozenset[str]:
    """Names of the images that are the very same in both: what is in them need not be compared."""
    return frozenset(one.name for one in after.images if before and one in before.images)
