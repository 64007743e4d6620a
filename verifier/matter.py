"""What a review needs of an item, gathered at the site. Reads, writes nothing."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from content.head import VerifiedHead
from manifests.canonical import encode
from manifests.errors import WaybillError
from manifests.policy import Policy
from manifests.release import Release
from manifests.report_text import report_lines
from manifests.trust import Mark
from manifests.units import show_size
from verifier.change import Change, Route, crew_for
from verifier.crew import LoadDriver, Work, installed_of
from verifier.heads import read_kept_head
from verifier.install import space_wanted
from verifier.items import AnyItem
from verifier.offboarding import beforehand
from verifier.policy import tight_roles
from verifier.policy_change import PolicyChange
from verifier.report import history_of, read_report, to_carry
from verifier.review import Matter, Room, Vouched
from verifier.sides import ALL_IMAGES, Read, Side, read_side
from verifier.site import Site
from verifier.state import Generation
from verifier.store import get_blob, is_held, space_for
from verifier.verify import Finding


def matter_of(site: Site, asked: AnyItem, load: LoadDriver, read: Read | None = None) -> Matter:
    """Everything that people judge ``asked`` by.

    Args:
        read: Instead of the store, when whoever asks wants to know what was read.

    Raises:
        RefusedError: This site lacks a driver that a release needs.
    """
    if isinstance(asked, Change | Route):
        return _of_releases(site, asked, load, read or store_of(site))
    matter = Matter(item=asked.item, plan=asked.plan, policy=site.policy)
    if isinstance(asked, PolicyChange):
        return replace(matter, proposed=asked.proposed, findings=tuple(_tight(asked.proposed)))
    if asked.plan.action == "offboard":
        done, forever = beforehand(site.state)
        return replace(matter, work=done, findings=tuple(Finding("for-ever", "warning", one) for one in forever))
    return replace(matter, work=tuple(_leaves(site)))


def _leaves(site: Site) -> Iterator[str]:
    """What the newest report would carry out, and how it may leave."""
    state = site.state
    if state.report_head is None:
        raise ValueError("no report could leave")
    signed = read_report(site, state.report_seq, state.report_head)
    yield f"report {state.report_seq} leaves, {show_size(len(signed.raw))}, {signed.digest}"
    *before, _ = to_carry(site, history_of(site))
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
    found = []
    for hop in hops:
        left = site.state.left_before(hop.planned.release) if hop.action == "install" else None
        if left is not None:
            found.append(Finding("left-before", "warning", f"{hop.release.version}: {left.words}"))
    return found


def store_of(site: Site) -> Read:
    """Reads what the site holds."""
    return lambda blob, limit: get_blob(site.blobs, blob, limit)


def _of_releases(site: Site, asked: Change | Route, load: LoadDriver, read: Read) -> Matter:
    hops = asked.hops if isinstance(asked, Route) else (asked,)
    change = hops[-1]
    crews = tuple(crew_for(site, hop, load) for hop in hops)
    running = site.state.running
    names = () if change.action == "rollback" else tuple(hop.planned.release for hop in hops)
    heads = {one: read_kept_head(site, one) for one in names}
    now = installed_of(site, running).release if running else None
    same = same_images(now, change.release)
    before = side_of(site, running, read, same) if running else None
    between, lost = _between(site, change, heads)
    several = len(hops) > 1
    return Matter(
        item=" ".join(hop.item for hop in hops),
        plan=asked.plan,
        policy=site.policy,
        before=before,
        way=_way(hops, read, same),
        between=between,
        vouched=tuple(_vouched(one) for one in heads.values()),
        work=tuple(
            f"{f'{hop.release.version}: ' if several else ''}{work.step} ({work.driver.name}): {line}"
            for hop, crew in zip(hops, crews, strict=True)
            for work in crew
            for line in work.plan.lines
        ),
        authorised=change.authorised,
        more_leaves=tuple(words for hop in hops for words in hop.more_leaves),
        rooms=rooms_of(site, hops, crews),
        findings=(*_left_before(site, hops), *(one for hop in hops for one in hop.findings)),
        unread=lost,
    )


def side_of(site: Site, generation: Generation, read: Read, same: frozenset[str] = frozenset()) -> Side:
    """An installed generation with what belongs to it; ``same`` as for ``read_side``."""
    installed = installed_of(site, generation)
    return read_side(
        installed.release,
        generation.release,
        read,
        config=installed.config,
        settings=encode(installed.settings),
        same=same,
    )


def _way(hops: tuple[Change, ...], read: Read, same: frozenset[str]) -> tuple[Side, ...]:
    *passed, change = hops
    last = read_side(
        change.release,
        change.planned.release,
        read,
        config=change.installed.config,
        # What site.yaml says besides its config, which stands by itself.
        settings=change.settings or encode(change.installed.settings),
        same=same,
    )
    return (*(read_side(one.release, one.planned.release, read, same=ALL_IMAGES) for one in passed), last)


def _vouched(head: VerifiedHead) -> Vouched:
    root = head.chain.newest
    return Vouched(
        head.release_digest, head.signers, head.practice, f"verified with root {root.version} of {root.vendor}"
    )


def _between(site: Site, change: Change, heads: dict[str, VerifiedHead]) -> tuple[tuple[Release, ...], tuple[str, ...]]:
    """Releases of the channel between the one that runs and the one that is to run; they were received here once."""
    running = site.state.running
    if running is None or running.channel != change.release.channel:
        return (), ()
    low, high = sorted((running.mark, change.release.mark), key=_order)
    found, lost = [], []
    for one in site.state.releases:
        if one.channel == running.channel and low < one.mark < high and one.release not in heads:
            try:
                found.append(read_kept_head(site, one.release).release)
            except WaybillError as error:
                lost.append(f"release {one.version} in between: {error.problem}")
    return tuple(found), tuple(lost)


def _order(mark: Mark) -> tuple[int, int]:
    return mark.epoch, mark.sequence


def same_images(before: Release | None, after: Release) -> frozenset[str]:
    """Names of the images that are the very same in both: what is in them need not be compared."""
    return frozenset(one.name for one in after.images if before and one in before.images)


def rooms_of(site: Site, hops: tuple[Change, ...], crews: tuple[tuple[Work, ...], ...]) -> tuple[Room, ...]:
    """Space on each file system, by the sizes of what is not held; an install hashes what is and counts again."""
    members = {one.digest: one for hop in hops for one in hop.release.members}
    missing = tuple(one for one in members.values() if not is_held(site.blobs, one))
    size, inodes = space_for(missing, site.disk.space(site.blobs).block)
    wanted_all: list[tuple[Path, int, int]] = []
    for i, (hop, crew) in enumerate(zip(hops, crews, strict=True)):
        wanted_all += space_wanted(site, hop, crew, *((size, inodes) if i == 0 else (0, 0)))
    sums: dict[int, list[tuple[Path, int, int]]] = {}
    for one in wanted_all:
        sums.setdefault(site.disk.space(one[0]).device, []).append(one)
    found = []
    for wanted in sums.values():
        free = site.disk.space(wanted[0][0])
        names = sorted({_name(site, place) for place, _, _ in wanted})
        found.append(
            Room(
                places=tuple(names),
                bytes=sum(one[1] for one in wanted),
                inodes=sum(one[2] for one in wanted),
                free_bytes=free.bytes,
                free_inodes=free.inodes,
            )
        )
    return tuple(found)


def _name(site: Site, place: Path) -> str:
    if place == site.path:
        return "site"
    return str(place.relative_to(site.path)) if place.is_relative_to(site.path) else str(place)
