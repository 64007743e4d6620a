"""The report of a site: planned without an effect, then numbered, chained, signed and put into the outbox.

A report always takes a number, also on a full disk. Its file is durable before the journal names it; one that the
journal does not name yet was cut short, and is taken over as it is, so that a number never has two contents.
"""

import errno
import hashlib
import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from msgspec.structs import replace

from manifests import report as r
from manifests.console import rfc3339
from manifests.digest import digest_of, is_digest
from manifests.enrolment import Enrolment, verify_enrolment
from manifests.envelope import MAX_BUNDLE
from manifests.errors import DamagedError, RefusedError, WaybillError
from manifests.keys import Signer, read_capped
from manifests.medium import folder_on
from manifests.release import FORMAT, Release
from manifests.rotation import MAX_SUCCESSION, SignedRotation
from manifests.units import parse_duration, parse_size
from verifier.crew import installed_of, observe
from verifier.drivers import ABSENT, Component, load_driver
from verifier.drivers.blobs import blob_path
from verifier.events import Enrolled, KeyRenewed, Outcome, Reported
from verifier.export import let_leave
from verifier.fsops import Disk
from verifier.generations import Installed
from verifier.items import note_proposals
from verifier.journal import read_journal
from verifier.offboarding import check_served, told_offboarding
from verifier.outbox import report_name, report_path
from verifier.queue import waiting_items
from verifier.site import EVIDENCE, LITTLE, Site
from verifier.sitekey import finish_key, succession_of
from verifier.state import Generation, SiteState
from verifier.table import State
from verifier.trust import running_revoked
from verifier.verify import VERIFIER_VERSION
from verifier.why import contract_in_force
from verifier.windows import clock_verdict

T = TypeVar("T")
MAX_GENERATIONS = 32
MAX_STORED = 16
HISTORY = 12


@dataclass(frozen=True)
class Observed:
    """What was seen at the site when the report was made; everything else is a fold of the journal.

    Attributes:
        enrolment: Digest of the enrolment's file.
        succession: Every rotation since that enrolment, oldest first.
        seal: Of the config in force, under the site's salt; None without a config.
        held: What the store holds; None where it may not leave.
        withheld: Words of the core that the contract would let leave and `site.yaml` does not.
        kit: Digest of the one file that this program runs from.
        revoked: The release that runs is revoked.
        remains: What stays, of a site whose vendor's access was ended.
        unseen: What could not be looked at, by name of the core's field.
    """

    enrolment: str
    report_every_seconds: int
    succession: tuple[SignedRotation, ...] = ()
    target: str | None = None
    labels: tuple[str, ...] = ()
    components: tuple[r.Component, ...] = ()
    seal: str | None = None
    waiting: tuple[r.WaitingItem, ...] = ()
    health: tuple[r.Health, ...] = ()
    held: tuple[r.Held, ...] | None = None
    kit: str | None = None
    revoked: bool = False
    remains: r.Remains | None = None
    withheld: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()


@dataclass(frozen=True)
class Former:
    """The report before: its file's digest, and what it said; ``report`` is None when the file is gone."""

    seq: int
    digest: str
    report: r.Report | None


def plan_report(state: SiteState, observed: Observed, former: Former | None, *, cause: str, now: datetime) -> r.Report:
    """The next report, small enough to be signed. Touches nothing.

    Args:
        former: The last report; None before the first.
    """
    report = r.Report(
        identity=r.Identity(
            site=state.site,
            key_epoch=state.key_epoch,
            target=observed.target,
            labels=observed.labels,
            report_every_seconds=observed.report_every_seconds,
            succession=_succession(state, observed),
        ),
        chain=_chain(state, observed, former, cause, now),
        trust=_trust(state, observed, now),
        policy=_policy(state) if state.policy_number else None,
        install=replace(_install(state), revoked=observed.revoked, below_floor=state.below_floor),
        components=r.Components(listed=observed.components),
        config=r.ConfigState(
            schema_version=state.running.config_version if state.running else None,
            seal=observed.seal,
        ),
        waiting=_waiting(observed, former, state.report_seq + 1),
        approvals=tuple(_approvals(state)),
        health=observed.health[:256],
        rollbacks=_rollbacks(state),
        requests=tuple(
            r.RequestResult(consignment=one.consignment, request=one.request, handler=one.handler, outcome=one.outcome)
            for one in state.answered[-256:]
        ),
        dropped=(
            *(r.Dropped(what=what, reason="withheld", count=1) for what in observed.withheld),
            *(r.Dropped(what=what, reason="unreadable", count=1) for what in observed.unseen),
        ),
        verifier=r.VerifierState(version=VERIFIER_VERSION, format=FORMAT, kit=observed.kit),
        store=None if observed.held is None else r.Store(releases=observed.held),
    )
    return fit(report, observed.enrolment)


def _succession(state: SiteState, observed: Observed) -> tuple[SignedRotation, ...]:
    """What home needs to believe the key that signs: until it acknowledged a report by that key."""
    told = state.acknowledged[0] if state.acknowledged else 0
    return tuple(one for one in observed.succession if one.rotation.after_seq >= told)[-MAX_SUCCESSION:]


def _chain(state: SiteState, observed: Observed, former: Former | None, cause: str, now: datetime) -> r.ChainLink:
    earlier, omitted, acknowledged = _earlier(former, state.acknowledged)
    return r.ChainLink(
        seq=state.report_seq + 1,
        previous=former.digest if former else observed.enrolment,
        made_at=rfc3339(now),
        cause=cause,
        challenge=state.challenge,
        acknowledged=acknowledged,
        earlier=earlier,
        omitted=omitted,
        journal=r.Journal(entries=state.seq, head=state.head, torn=state.torn),
    )


def _earlier(
    former: Former | None, known: tuple[int, str] | None
) -> tuple[tuple[r.Earlier, ...], r.Omitted | None, r.Acknowledged | None]:
    """Every report since the last acknowledged one, in short; the oldest give way when there are too many."""
    acknowledged = None if known is None else r.Acknowledged(seq=known[0], digest=known[1])
    told = acknowledged.seq if acknowledged else 0
    if former is None or former.seq == told:
        return (), None, acknowledged
    if former.report is None:
        return (), r.Omitted(first=told + 1, last=former.seq, digest=former.digest), acknowledged
    chain, install = former.report.chain, former.report.install
    last = r.Earlier(
        seq=former.seq,
        digest=former.digest,
        made_at=chain.made_at,
        cause=chain.cause,
        release=install.release.digest if install.release else None,
        state=install.state,
    )
    since = tuple(one for one in (*chain.earlier, last) if one.seq > told)
    gone = chain.omitted
    if gone is not None:
        gone = replace(gone, first=max(gone.first, told + 1)) if gone.last > told else None
    earlier, omitted = _shorten(since, gone, r.MAX_EARLIER, acknowledged)
    return earlier, omitted, acknowledged


def _shorten(
    earlier: tuple[r.Earlier, ...], omitted: r.Omitted | None, most: int, acknowledged: r.Acknowledged | None
) -> tuple[tuple[r.Earlier, ...], r.Omitted | None]:
    if len(earlier) <= most:
        return earlier, omitted
    gone = earlier[-most - 1]
    first = omitted.first if omitted else (acknowledged.seq if acknowledged else 0) + 1
    return earlier[len(earlier) - most :], r.Omitted(first=first, last=gone.seq, digest=gone.digest)


def _trust(state: SiteState, observed: Observed, now: datetime) -> r.Trust:
    ended = state.offboarding if state.offboarded else None
    root = ended.root if ended and ended.root else state.root
    return r.Trust(
        root=r.ReportedRoot(version=max(root.version, 1), digest=root.digest),
        practice=state.practice,
        channel=state.channel,
        mark=state.mark,
        floor=state.floor,
        roots_replaced=state.root_line,
        revocations=ended.revocations if ended else state.revocations[0] if state.revocations else 0,
        time_floor=state.time_floor,
        clock=clock_verdict(state.time_floor, now),
        clock_back=state.clock_back,
        alarms=tuple(r.SeenAlarm(code=one.code, digest=one.digest) for one in state.alarms[-32:]),
        offboarding=told_offboarding(state, observed.remains),
    )


def _install(state: SiteState) -> r.Install:
    running = state.running
    shown = state.generations[-MAX_GENERATIONS:]
    if running is not None and running not in shown:
        shown = (running, *shown[1:])
    blocked = {one.release for one in state.generations if one.state == State.ROLLED_BACK}
    kept = {one.release for one in state.generations if one.state in (State.CONFIRMED, State.SETTLED)}
    now = state.transaction
    return r.Install(
        state=_install_state(state),
        release=None
        if running is None
        else r.Installed(
            generation=running.number,
            digest=running.release,
            product=running.product,
            version=running.version,
            channel=running.channel,
            epoch=running.mark.epoch,
            sequence=running.mark.sequence,
        ),
        trial_attempts=now.attempts if now is not None and now.open and now.switched else 0,
        generations=tuple(
            r.Generation(
                number=one.number,
                release=one.release,
                version=one.version,
                state=str(one.state),
                outside_window=one.outside_window,
            )
            for one in shown
        ),
        blocked=tuple(sorted(blocked - kept))[:32],
    )


def _install_state(state: SiteState) -> r.InstallState:
    running = state.running
    if running is None:
        return "none"
    if state.inconsistent:
        return "inconsistent"
    return "confirmed" if running.state in (State.CONFIRMED, State.SETTLED) else "trial"


def _policy(state: SiteState) -> r.PolicyState:
    """The policy in force; what emergency rules were used for leads it."""
    numbers = {one.digest: one.number for one in state.policies}
    uses = {(one.rule, one.plan): one for one in state.uses}
    founded = [one.number for one in state.policies if one.reason is not None]
    return r.PolicyState(
        emergency=tuple(
            r.EmergencyUse(rule=one.rule, policy=numbers[one.policy], release=one.release, plan=one.plan, at=one.at)
            for one in [*uses.values()][-16:]
        ),
        number=state.policy_number,
        digest=state.policy,
        contract=state.contract,
        refounded=founded[-1] if founded else None,
    )


def _waiting(observed: Observed, former: Former | None, seq: int) -> tuple[r.WaitingItem, ...]:
    """What waits keeps the number of the report that said so first, as long as people are asked about the same."""
    rows = former.report.waiting if former and former.report else ()
    old = {(one.item, one.digest, one.since): one for one in rows}
    return tuple(
        replace(one, since_seq=known.since_seq)
        if (known := old.get((one.item, one.digest, one.since)))
        else replace(one, since_seq=seq)
        for one in observed.waiting[:64]
    )


def _approvals(state: SiteState) -> Iterable[r.Approval]:
    """By whose agreement the running generation was installed: roles and keys, never names."""
    if state.running is not None:
        for one in state.verdicts:
            if one.envelope in state.running.approvals:
                yield r.Approval(plan=one.plan, role=one.role, key=one.keyid)


def _rollbacks(state: SiteState) -> tuple[r.Rollback, ...]:
    releases = {one.number: one.release for one in state.generations}
    return tuple(
        r.Rollback(
            from_generation=one.source,
            to_generation=one.target,
            left=releases[one.source],
            cause=one.code,
            automatic=one.automatic,
            at=one.at,
            authorisation=one.authorisation,
        )
        for one in state.rollbacks[-64:]
        if one.source in releases
    )


def fit(report: r.Report, enrolment: str) -> r.Report:
    """The report within 64 KiB: what is least missed gives way first, and every loss is counted.

    Components that are as released go first, one by one counted in `more_same`; what went wrong goes last.
    """
    while len(r.encode_report(report, enrolment)) > r.MAX_CORE:
        smaller = next((found for one in _REDUCTIONS if (found := one(report)) is not None), None)
        if smaller is None:
            raise AssertionError("the bounded rest of a report is longer than a report may be")
        report = smaller
    return report


def _fewer_same(report: r.Report) -> r.Report | None:
    parts = report.components
    same = [one for one in parts.listed if one.found == "same"]
    gone = set(same[len(same) // 2 :])
    if not gone:
        return None
    listed = tuple(one for one in parts.listed if one not in gone)
    return replace(report, components=replace(parts, listed=listed, more_same=parts.more_same + len(gone)))


def _fewer_other(report: r.Report) -> r.Report | None:
    parts = report.components
    half = len(parts.listed) // 2
    if not parts.listed:
        return None
    gone = len(parts.listed) - half
    return replace(report, components=replace(parts, listed=parts.listed[:half], more_other=parts.more_other + gone))


def _fewer_earlier(report: r.Report) -> r.Report | None:
    chain = report.chain
    if not chain.earlier:
        return None
    earlier, omitted = _shorten(chain.earlier, chain.omitted, len(chain.earlier) // 2, chain.acknowledged)
    return replace(report, chain=replace(chain, earlier=earlier, omitted=omitted))


def _fewer(name: str) -> Callable[[r.Report], r.Report | None]:
    """Keep the newer half of a list, and count the other under `dropped`."""

    def reduce(report: r.Report) -> r.Report | None:
        rows: tuple[object, ...] = getattr(report, name)
        if not rows:
            return None
        half = len(rows) // 2
        shorter: r.Report = replace(report, **{name: rows[len(rows) - half :] if half else ()})
        return _count(shorter, name, len(rows) - half)

    return reduce


def _fewer_held(report: r.Report) -> r.Report | None:
    if report.store is None or not report.store.releases:
        return None
    return _count(replace(report, store=r.Store()), "store", len(report.store.releases))


def _count(report: r.Report, what: str, count: int) -> r.Report:
    others = tuple(one for one in report.dropped if (one.what, one.reason) != (what, "too-large"))
    before = sum(one.count for one in report.dropped) - sum(one.count for one in others)
    return replace(report, dropped=(*others, r.Dropped(what=what, reason="too-large", count=before + count)))


_REDUCTIONS: tuple[Callable[[r.Report], r.Report | None], ...] = (
    _fewer_same,
    _fewer_held,
    _fewer("approvals"),
    _fewer_earlier,
    _fewer("health"),
    _fewer_other,
    _fewer("rollbacks"),
    _fewer("waiting"),
    _fewer("requests"),
)


def enrolment_of(site: Site) -> tuple[str, Enrolment]:
    """The digest of the enrolment file on which the site's reports stand, and what it says."""
    digest = site.state.enrolment
    if digest is None:
        raise DamagedError(
            "the journal does not name the site's enrolment",
            where="journal",
            remedy="keep the folder as it is and tell support",
            finding="no-enrolment",
        )
    return digest, verify_enrolment(site.document(digest)).enrolment


def told_of(site: Site) -> tuple[Reported, ...]:
    """Every report of the line that home can follow, oldest first. Read anew: also what was recorded just now."""
    told: list[Reported] = []
    for entry in read_journal(site.path / "journal")[0]:
        event = entry.record.event
        if isinstance(event, KeyRenewed):
            told = []
        elif isinstance(event, Reported):
            told.append(event)
    return tuple(told)


def to_carry(site: Site, most: int) -> tuple[Reported, ...]:
    """The newest ``most`` reports that home is not known to hold, oldest first; the newest in any case."""
    told = told_of(site)
    held = site.state.acknowledged[0] if site.state.acknowledged else 0
    return tuple(one for one in told if one.seq > held)[-most:] or told[-1:]


def read_former(site: Site) -> Former | None:
    """The last report, None before the first. Its digest is the journal's; a changed file says nothing."""
    state = site.state
    if state.report_head is None:
        return None
    try:
        signed = read_report(site, state.report_seq, state.report_head)
    except WaybillError:
        return Former(seq=state.report_seq, digest=state.report_head, report=None)
    return Former(seq=state.report_seq, digest=signed.digest, report=signed.report)


def read_report(site: Site, seq: int, digest: str) -> r.SignedReport:
    """A report of the outbox, which must be the very file that the journal names.

    Raises:
        DamagedError: It is gone, or another.
    """
    path = report_path(site, seq)
    if not path.is_file():
        raise DamagedError("the report is gone", where=str(path), remedy="waybill report --new", finding="report-gone")
    raw = read_capped(path, MAX_BUNDLE)
    if digest_of(raw) != digest:
        raise DamagedError(
            f"is {digest_of(raw)}, the journal says {digest}",
            where=str(path),
            remedy="waybill report --new writes another one; keep this file and tell support",
            finding="report-changed",
        )
    return r.verify_report(raw, site.state.key_of_report(seq), str(path))


def observe_site(site: Site) -> Observed:
    """Look at everything that a report tells of; what cannot be looked at is named, and is no reason to be silent."""
    digest, enrolment = enrolment_of(site)
    unseen: list[str] = []
    installed = _try(lambda: _installed(site), unseen, "install")
    components = _components(site, installed, unseen) if installed else ()
    optional = _try(lambda: _optional(site), unseen, "contract") or ()
    withheld = tuple(one for one in optional if installed and one in installed.settings.telemetry.withhold)
    store = "store" in optional and "store" not in withheld
    return Observed(
        enrolment=digest,
        succession=succession_of(site),
        report_every_seconds=_cadence(installed.settings.report.every) if installed else enrolment.report_every_seconds,
        target=installed.settings.target if installed else None,
        labels=installed.settings.labels if installed else (),
        components=components,
        seal=config_seal(site, installed.config) if installed and installed.config is not None else None,
        waiting=tuple(_try(lambda: tuple(waiting_of(site)), unseen, "waiting") or ()),
        health=tuple(probe_results(site)),
        held=_try(lambda: held_releases(site), unseen, "store") if store else None,
        kit=_try(lambda: _digest_of_kit(site), unseen, "verifier"),
        revoked=bool(_try(lambda: running_revoked(site), unseen, "revoked")),
        remains=_remains(site) if site.state.offboarded else None,
        withheld=withheld,
        unseen=tuple(unseen),
    )


def _optional(site: Site) -> tuple[str, ...]:
    """Words of the core that may leave only where the contract says so; none without a contract."""
    contract, _ = contract_in_force(site)
    if contract is None:
        return ()
    return next(one.optional for one in contract.signals if one.kind == "deployment-state")


def _remains(site: Site) -> r.Remains:
    """How many of each; where they are, the site's own statement says."""
    return r.Remains(
        generations=len(site.state.generations),
        releases=len({one.release for one in site.state.generations}),
        backups=_count_in(site.path / "backups"),
        evidence=_count_in(site.path / EVIDENCE) + _count_in(site.path / "heads"),
    )


def _count_in(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0


def _try(look: Callable[[], T], unseen: list[str], name: str) -> T | None:
    try:
        return look()
    except (WaybillError, OSError):
        unseen.append(name)
        return None


def _installed(site: Site) -> Installed | None:
    running = site.state.running
    return None if running is None else installed_of(site, running)


def _digest_of_kit(site: Site) -> str | None:
    if site.host.kit is None:
        return None
    with site.host.kit.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def _cadence(every: str) -> int:
    return 0 if every == "never" else parse_duration(every, "report.every")


def _components(site: Site, installed: Installed, unseen: list[str]) -> tuple[r.Component, ...]:
    """Every component that the release brings, with what its driver saw; unseen ones are said to be so."""
    seen = _try(lambda: observe(site, load_driver), unseen, "components") or ()
    found: dict[tuple[str, str], list[Component]] = {}
    for one in seen:
        found.setdefault((one.step, one.name), []).append(one)
    listed: list[r.Component] = []
    for want in r.expected_components(installed.release):
        # A step may place an image and a file set of one name; what tells them apart is what was expected.
        candidates = found.get((want.step, want.name), [])
        listed.append(_component(want, next((one for one in candidates if one.expected == want.digest), None)))
    return tuple(listed)


def _component(want: r.Expected, seen: Component | None) -> r.Component:
    found: r.Found = "unreadable"
    observed = None
    if seen is not None and seen.observed == want.digest:
        found = "same"
    elif seen is not None and is_digest(seen.observed):
        found, observed = "differs", seen.observed
    elif seen is not None and seen.observed == ABSENT:
        found = "missing"
    return r.Component(
        kind=want.kind,
        name=want.name,
        step=want.step,
        expected=want.digest,
        found=found,
        observed=observed,
        level=seen.level if seen else "placed",
    )


def config_seal(site: Site, config: bytes) -> str:
    """Tells a changed config from an unchanged one to those who do not have the salt, and nothing else."""
    first = site.entries[0].record.event
    if not isinstance(first, Enrolled):
        raise DamagedError(
            "the journal does not begin with the enrolment",
            where="journal",
            remedy="keep the folder as it is and tell support",
            finding="no-enrolment",
        )
    salt = bytes.fromhex(first.salt.removeprefix("sha256:"))
    return "sha256:" + hmac.new(salt, b"waybill config seal\0" + config, hashlib.sha256).hexdigest()


def waiting_of(site: Site) -> Iterable[r.WaitingItem]:
    """What waits, with the roles that are asked. A proposal's digest stays here: it could be that of the config."""
    for one in waiting_items(site):
        if one.kind == "export":
            continue  # that the report before has not left says this one, by its number
        yield r.WaitingItem(
            item=one.item,
            kind=f"{one.kind}-refused" if one.problem else one.kind,
            digest=one.digest if one.kind in ("release", "rollback") else None,
            roles=tuple(r.RoleCount(role=two.role, have=two.have, need=two.need) for two in one.roles if two.need),
            since=one.since,
            since_seq=1,
        )


def probe_results(site: Site) -> Iterable[r.Health]:
    """The last result of each probe since the running generation was switched to."""
    running = site.state.running
    if running is None:
        return
    entries, _ = read_journal(site.path / "journal")
    last: dict[str, bool] = {}
    failures: dict[str, int] = {}
    for entry in entries:
        event = entry.record.event
        if entry.record.seq > running.seq and isinstance(event, Outcome) and event.act == "probe" and event.step:
            last[event.step] = event.result == "done"
            failures[event.step] = failures.get(event.step, 0) + (event.result == "failed")
    for name in sorted(last):
        yield r.Health(probe=name, state="passing" if last[name] else "failing", failures=failures[name])


def held_releases(site: Site) -> tuple[r.Held, ...]:
    """The releases whose blobs the store holds, by name and size; up to 64 missing ones are named."""
    found: dict[str, r.Held] = {}
    for generation in reversed(site.state.generations):
        if generation.release in found or len(found) >= MAX_STORED:
            continue
        held = _held(site, generation)
        if held is not None:
            found[generation.release] = held
    return tuple(found[digest] for digest in sorted(found))


def _held(site: Site, generation: Generation) -> r.Held | None:
    try:
        release: Release = installed_of(site, generation).release
    except (DamagedError, RefusedError):
        return None
    missing = [
        one.digest
        for one in dict.fromkeys(release.members[2:])
        if not _has(blob_path(site.blobs, one.digest), one.size)
    ]
    return r.Held(release=generation.release, missing=tuple(missing)) if len(missing) <= 64 else None


def _has(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def write_report(site: Site, disk: Disk, now: datetime, *, cause: str = "requested") -> Path:
    """Write the next report of a held site into its outbox.

    Steps: 1 take over a file that was written and not journalled; 2 look; 3 plan; 4 sign; 5 the file, durable; 6 the
    journal; 7 what need not be handed out again is removed; 8 a reserve that was spent is set aside again. A full disk
    costs the reserve before it costs the report.

    Returns:
        The file; its number is one above the last.

    Raises:
        RefusedError: The vendor's access was ended, and the report that says so is written.
    """
    now = now.astimezone(UTC)
    if site.state.offboarding is not None and site.state.offboarding.final is not None:
        check_served(site.state)
    finish_key(site)
    take_over(site)  # 1
    note_proposals(site)
    observed = observe_site(site)  # 2
    former = read_former(site)
    report = plan_report(site.state, observed, former, cause=cause, now=now)  # 3
    raw = r.sign_report(report, observed.enrolment, site.signer())  # 4
    path = report_path(site, report.chain.seq)
    try:
        _put(disk, path, raw)  # 5
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not site.spend_reserve():
            raise
        _put(disk, path, raw)
    site.record(Reported(seq=report.chain.seq, digest=digest_of(raw), previous=report.chain.previous))  # 6
    _clear_away(site, disk)  # 7
    _renew_reserve(site)  # 8
    return path


def history_of(site: Site) -> int:
    """How many reports are kept, to be handed out again until they are acknowledged."""
    try:
        installed = _installed(site)
    except WaybillError:
        installed = None
    return HISTORY if installed is None else installed.settings.report.history


def _clear_away(site: Site, disk: Disk) -> None:
    """Remove reports of the line that home holds, and those beyond the history; never the newest."""
    state = site.state
    held = state.acknowledged[0] if state.acknowledged else 0
    last = min(max(held, state.report_seq - history_of(site)), state.report_seq - 1)
    for one in told_of(site):
        if one.seq <= last:
            disk.remove(report_path(site, one.seq))


def _renew_reserve(site: Site) -> None:
    """Once there is room beside it; never from under a transaction, which may still need what was given back."""
    try:
        installed = _installed(site)
    except WaybillError:
        return
    if installed is None or site.state.open_transaction is not None:
        return
    size = parse_size(installed.settings.keep.reserve)
    if site.disk.space(site.path).bytes >= size + LITTLE:
        site.renew_reserve(size)


def _put(disk: Disk, path: Path, raw: bytes) -> None:
    disk.make_folder(path.parent)
    disk.write(path, raw)


def take_over(site: Site) -> None:
    """A file with the next number is what a crash left between writing it and journalling it."""
    path = report_path(site, site.state.report_seq + 1)
    if not path.is_file():
        return
    digest, _ = enrolment_of(site)
    signed = r.verify_report(read_capped(path, MAX_BUNDLE), site.state.site_key, str(path))
    chain = signed.report.chain
    if (chain.seq, chain.previous) != (site.state.report_seq + 1, site.state.report_head or digest):
        raise DamagedError(
            "a report that does not follow the last one of the journal",
            where=str(path),
            remedy="keep the folder as it is and tell support",
            finding="report-stray",
        )
    site.record(Reported(seq=chain.seq, digest=signed.digest, previous=chain.previous))


def export_reports(
    site: Site, disk: Disk, folder: Path, *, most: int, signers: tuple[Signer, ...] = ()
) -> tuple[Path, ...]:
    """Copy the newest ``most`` reports that home is not known to hold, oldest first; the newest in any case.

    Their names tell sites apart; the journal says what left. Where the medium has a folder ``back/`` for this site, as
    support lays it out, they go there.

    Args:
        signers: People who agree to it now, where the policy asks for people.

    Raises:
        RefusedError: ``folder`` is none, leads off the medium, or a file of that name holds something else.
        WaitingError: The policy asks for more people.
        DamagedError: A report of the outbox is not the one that the journal names.
    """
    if not folder.is_dir():
        there = folder.exists()
        raise RefusedError(
            "not a folder" if there else "there is no such folder",
            where=str(folder),
            remedy="name the medium's folder" + ("" if there else f", or make this one: mkdir {folder}"),
            finding="no-folder",
        )
    name = site.state.site.replace("/", ".")
    back = folder_on(folder, "back", name)
    folder = back if back.is_dir() else folder
    told = to_carry(site, most)
    ready: list[tuple[Path, bytes]] = []
    for event in told:
        # An older one may have been cleared away; the newest sums it up.
        if event is not told[-1] and not report_path(site, event.seq).is_file():
            continue
        raw = read_report(site, event.seq, event.digest).raw
        target = folder / f"{name}.{report_name(site.state, event.seq)}"
        if target.exists() and read_capped(target, MAX_BUNDLE) != raw:
            raise RefusedError(
                "holds something else, and nothing is overwritten", where=str(target), remedy="name another folder"
            )
        ready.append((target, raw))
    let_leave(site, signers, f"to {folder}")
    for target, raw in ready:
        if not target.exists():
            disk.write(target, raw)
    return tuple(target for target, _ in ready)
