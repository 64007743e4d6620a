"""Install an approved item, go back, confirm, recover: each opens the site's one transaction and drives it on."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from content.bulk import find_places, open_bundle
from manifests.canonical import encode
from manifests.digest import Blob
from manifests.errors import (
    AttentionError,
    DamagedError,
    InconsistentError,
    RefusedError,
    TrialError,
    UsageError,
    WaitingError,
    WaybillError,
)
from manifests.keys import Signer
from manifests.plan import Plan
from manifests.units import show_size, show_uses
from verifier.approve import say_verdict
from verifier.change import Change, Route, crew_for, items_under_way, rollback_change
from verifier.confirmation import confirming, trial_plan
from verifier.crew import Work, crew_of, installed_of
from verifier.events import Approved, Note, Planned
from verifier.generations import write_generation
from verifier.items import asked_about, note_proposals
from verifier.machine import ByHand, Machine, Tools, one_line
from verifier.policy import Standing, require
from verifier.site import OVERHEAD, OVERHEAD_FILES, Site, check_space
from verifier.standing import standing_of
from verifier.state import Generation
from verifier.store import ingest, missing_blobs, space_for
from verifier.table import BEFORE_CHANGE, State
from verifier.under_way import how_to_confirm, outcome_of, trial_words
from verifier.way_back import backup_need, check_former, name_blobs
from verifier.windows import check_window, effective_now

# Notes that the time of a trial was counted.
TICK = "tick"
Advance = Callable[[int], None]
# Writes the report after a change; gets the site and what the change was.
Tell = Callable[[Site, str], Path]


@dataclass(frozen=True)
class Need:
    """What it will take: counted before the first write.

    Attributes:
        backups: Bytes that the backups may take, in the folder ``where``.
    """

    missing: tuple[Blob, ...]
    bytes: int
    inodes: int
    backups: int = 0
    where: Path | None = None


@dataclass(frozen=True)
class Ended:
    """How it ended.

    Attributes:
        generation: What runs now; None for nothing.
        error: Why that is not what was asked for, or what a person should know.
        report: The report that tells of it, None when it could not be written.
        lines: What a person should know of the way there, or back.
    """

    generation: Generation | None
    error: WaybillError | None
    report: Path | None
    need: Need | None = None
    lines: tuple[str, ...] = ()


def finish_former(site: Site, tools: Tools) -> None:
    """What an earlier process left unfinished comes first: a new transaction begins from a state of rest."""
    now = site.state.transaction
    waits = now is not None and now.state == State.PROBING and now.passed and now.act is None
    cut_off = now is not None and now.open and not waits
    if cut_off or site.pointed() != site.state.current:
        tools.say("finishing what was cut off before")
        Machine(site, tools).drive(forward=False)


def check_idle(site: Site) -> None:
    """Raise unless a new transaction may begin.

    Raises:
        InconsistentError: The last one ended between two generations, or was cut off.
        RefusedError: One is on trial.
    """
    now = site.state.transaction
    error = outcome_of(site)
    if site.state.inconsistent and error is not None:
        raise error
    if now is None or now.state in (*BEFORE_CHANGE, State.SETTLED, State.ROLLED_BACK):
        return
    if now.state == State.PROBING and now.passed and now.act is None:
        raise RefusedError(
            f"generation {now.planned.target} is on trial",
            where="site",
            remedy=f"{how_to_confirm(site)}, or waybill rollback",
            finding="trial",
        )
    if now.state != State.CONFIRMED:
        raise InconsistentError(
            f"{now.action} of {now.planned.item} was cut off in state {now.state}",
            where="site",
            remedy="waybill recover",
            finding="unfinished",
        )


def plan_need(site: Site, change: Change, crew: tuple[Work, ...], told: Advance) -> Need:
    """Bytes and inodes that staging takes. Reads every blob that is there already, and writes nothing.

    Raises:
        HostError: They do not fit; with numbers.
    """
    missing = missing_blobs(site.blobs, change.release.members, told=told)
    block = site.disk.space(site.blobs).block
    size, inodes = space_for(missing, block)
    wanted = space_wanted(site, change, crew, size, inodes)
    check_space(site.disk, wanted)
    return Need(missing=missing, bytes=sum(one[1] for one in wanted), inodes=sum(one[2] for one in wanted))


def space_wanted(
    site: Site, change: Change, crew: tuple[Work, ...], size: int, inodes: int
) -> tuple[tuple[Path, int, int], ...]:
    """``(place, bytes, inodes)`` of everything that is written; ``size`` and ``inodes`` are those of new blobs."""
    wanted = (
        (site.blobs, size, inodes),
        (site.path / "generations", OVERHEAD, OVERHEAD_FILES),
        (site.path, sum(work.plan.bytes_needed for work in crew), sum(work.plan.inodes_needed for work in crew)),
    )
    if not change.planned.document:
        return wanted
    return (*wanted, backup_need(site, change.installed, change.rollback, fresh=not change.planned.source))


def check_way_back(
    site: Site, change: Change, tools: Tools, missing: tuple[Blob, ...], told: Advance
) -> tuple[str, ...]:
    """That a failure after the switch, or of a migration, would find what it needs; in words what was found.

    Steps: 1 the former generation is here, whole; 2 the programs of the rollback document could run here.

    Raises:
        WaybillError: Says what is missing; nothing was changed.
    """
    lines: tuple[str, ...] = ()
    running = site.state.running
    if running is not None:  # 1
        lines = check_former(site, running, tools.load, brought=frozenset(one.digest for one in missing), told=told)
    if change.planned.document:  # 2
        tools.programs.check(site, change.installed, change.rollback)
        document = change.rollback
        for one in document.backup if running is not None else ():
            lines += (f"backup {one.name}: at most {show_size(one.at_most_bytes)}, proven before the switch",)
        lines += tuple(f"migration {step.name}: {' '.join(step.do)}" for step in document.steps)
    return lines


def install(
    site: Site,
    items: tuple[str, ...],
    tools: Tools,
    *,
    media: Path | None,
    contract: Callable[[Change], str] | None,
    tell: Tell,
    told: Advance,
    outside_window: str | None = None,
    emergency: str = "",
    dry_run: bool = False,
) -> Ended:
    """Install an item, or several releases one after the other, and see each through its trial.

    Steps: 1 what was cut off is finished, nothing else is on its way; 2 work out the change; 3 the people have agreed,
    and it is the time for it; 4 a first install names its contract; 5 it fits, and it could go back; 6 plan and
    approvals go into the journal; 7 stage, back up, migrate, switch, activate, probe, confirm, settle. 5 to 7 for each
    release.

    Args:
        media: Where the bulk is; None for where it was received from.
        contract: Asks for the digest of the contract of a first install.
        outside_window: Why it is done now, outside of the policy's windows.
        emergency: The rule of the policy that is asked for instead of the ordinary ones.

    Raises:
        WaybillError: Before anything was changed.
    """
    finish_former(site, tools)  # 1
    check_idle(site)
    if not dry_run:
        note_proposals(site)
    route = _route(site, items)  # 2
    crews = [crew_for(site, hop, tools.load) for hop in route.hops]
    standing = standing_of(site, route, emergency or _used_for(site, route.plan))  # 3
    require(standing, " ".join(items))
    late = check_window(site.policy.windows, effective_now(site.host.now(), site.state.time_floor), outside_window)
    if site.state.contract is None and not dry_run:  # 4
        _check_contract(route.hops[0], contract)
    if dry_run:
        need = plan_need(site, route.hops[0], crews[0], told)
        lines = check_way_back(site, route.hops[0], tools, need.missing, told)
        return Ended(site.state.running, None, None, need, lines)
    ended = Ended(site.state.running, None, None)
    for i, hop in enumerate(route.hops):
        crew = crews[0] if i == 0 else crew_for(site, hop, tools.load)
        planned = replace(hop.planned, outside_window=one_line(late) if late else None)
        ended = _install_one(site, hop, planned, route, standing, crew, tools, media=media, tell=tell, told=told)
        now = site.state.transaction
        if now is None or now.state not in (State.SETTLED, State.CONFIRMED):
            return ended if len(route.hops) == 1 else _stopped(site, ended, route, i)
    return ended


def _used_for(site: Site, plan: Plan) -> str:
    """The emergency rule by which this very plan was begun before; going on with it is no second use."""
    return next((one.rule for one in reversed(site.state.uses) if one.plan == plan.digest), "")


def _route(site: Site, items: tuple[str, ...]) -> Route:
    """One change is a route of one hop. Raises UsageError for what is done by another verb."""
    asked = asked_about(site, items)
    if isinstance(asked, Route):
        return asked
    if not isinstance(asked, Change) or asked.action != "install":
        raise UsageError(f"{asked.item} is not installed", where="item", remedy=f"waybill {asked.then}")
    return Route(hops=(asked,), plan=asked.plan)


def _install_one(
    site: Site,
    change: Change,
    planned: Planned,
    route: Route,
    standing: Standing,
    crew: tuple[Work, ...],
    tools: Tools,
    *,
    media: Path | None,
    tell: Tell,
    told: Advance,
) -> Ended:
    need = plan_need(site, change, crew, told)  # 5
    check_way_back(site, change, tools, need.missing, told)
    tools.say(f"{len(need.missing)} blobs are new here; {show_size(need.bytes)} in all")
    site.keep_document(encode(route.plan))  # 6
    site.record(planned)
    site.record(Approved(approvals=tuple(one.digest for one in standing.approvals), rule=standing.rule or None))
    if standing.rule:
        tools.say(f"by the emergency rule {standing.rule}; after this one, {show_uses(standing.uses_left - 1)} left")
    machine = Machine(site, tools)  # 7
    plan = route.plan.digest
    machine.drive(forward=True, stage=lambda: _stage(site, change, plan, crew, need.missing, media, tools, told))
    return _ended(site, tell, "emergency" if standing.rule else "install", need)


def _stopped(site: Site, ended: Ended, route: Route, at: int) -> Ended:
    """Which of several releases is installed, when a later one was not, and how to go on by the same approval."""
    hop, error = route.hops[at], ended.error
    if error is not None:
        of = len(route.hops) + route.done
        error.problem = f"{at + route.done} of {of} releases were installed, {hop.item} was not: {error.problem}"
        if isinstance(error, TrialError) and (items := items_under_way(site)):
            error.remedy += f"; after that waybill install {' '.join(items)} goes on, with the same approval"
    return ended


def _check_contract(change: Change, ask: Callable[[Change], str] | None) -> None:
    wanted = change.planned.contract
    given = ask(change) if ask is not None else ""
    if not given:
        raise WaitingError(
            f"the first install puts a telemetry contract in force: {change.contract.contract} "
            f"version {change.contract.version}, {len(change.contract.signals)} signals",
            where="contract",
            remedy=f"read it with `waybill review {change.item}`, then install with --contract DIGEST",
            finding="contract-unnamed",
        )
    if given != wanted:
        raise RefusedError(
            f"the release brings contract {wanted}, you named {given}",
            where="--contract",
            remedy="ask the vendor which contract was agreed",
            finding="contract-other",
        )


def _stage(
    site: Site,
    change: Change,
    plan: str,
    crew: tuple[Work, ...],
    missing: tuple[Blob, ...],
    media: Path | None,
    tools: Tools,
    told: Advance,
) -> None:
    """1. blobs; 2. the generation's folder; 3. what the drivers can do unseen. All of it can be done again."""
    head = change.head
    if head is None:
        raise AssertionError("an install has a head")
    if missing:  # 1
        path = media or (Path(change.source) if change.source not in ("", "-") else None)
        if path is None or not path.is_file():
            raise DamagedError(
                f"{len(missing)} blobs are missing and the medium is not at {path or 'hand'}",
                where=change.item,
                remedy=f"waybill install {change.item} --media PATH",
                finding="medium-missing",
            )
        descriptor = open_bundle(path)
        try:
            bulk = find_places(descriptor, change.release, str(path))
            ingest(site.disk, descriptor, bulk, missing, site.blobs, str(path), told=told)
        finally:
            os.close(descriptor)
    write_generation(  # 2
        site.disk,
        site.generation_folder(change.target),
        head.head.release,
        change.settings,
        change.installed.config,
        plan=plan,
    )
    for work in crew:  # 3
        tools.say(f"{work.step}: staging")
        work.driver.stage(work.plan, work.context)


def rollback(
    site: Site,
    number: int | None,
    tools: Tools,
    *,
    signer: Signer | None,
    reason: str | None,
    tell: Tell,
    dry_run: bool = False,
) -> Ended:
    """Go back: out of a trial always, else to an earlier generation when the people whom `rollback` names agree.

    Args:
        number: The generation; None for the former one.
        signer: Approves on the spot, with the key of somebody whom the policy lists.
    """
    now = site.state.transaction
    machine = Machine(site, tools)
    lost = now is not None and now.state == State.INCONSISTENT and now.action == "install"
    if now is not None and ((now.switched and now.state in (State.PROBING, State.SWITCHED)) or lost) and not dry_run:
        if number not in (None, now.planned.source):
            raise RefusedError(
                f"generation {now.planned.target} is on trial; the way back is generation {now.planned.source}",
                where="--to",
                remedy="waybill rollback, without --to",
                finding="trial",
            )
        blocked = None if lost else machine.why_no_way_back()
        if blocked is not None:
            raise RefusedError(
                f"nothing leads back from generation {now.planned.target}: {blocked.detail}",
                where="rollback",
                remedy="its rollback document says what people can do; it goes on running",
                finding="no-way-back",
            )
        machine.leave_trial(reason)
        return _ended(site, tell, "rollback", None, expected_back=True)
    finish_former(site, tools)
    check_idle(site)
    if signer is not None and not dry_run:
        site.make_room()
    target = number if number is not None else site.former()
    if not target:
        raise RefusedError(
            "there is no earlier generation to go back to",
            where="rollback",
            remedy="waybill status lists what is kept",
            finding="no-generation",
        )
    change = rollback_change(site, target)
    crew = crew_for(site, change, tools.load)
    if signer is not None:
        say_verdict(site, (change.item,), signer, "approve", condition=None, load=tools.load)
    standing = standing_of(site, change)
    require(standing, change.item)
    missing = missing_blobs(site.blobs, change.release.members)
    if missing:
        raise DamagedError(
            name_blobs(change.release, missing),
            where=change.item,
            remedy=f"bring the medium of {change.release.version}: waybill receive BUNDLE --keep; nothing was changed",
            finding="blobs-missing",
        )
    if dry_run:
        return Ended(site.state.running, None, None)
    site.make_room()
    site.keep_document(encode(change.plan))
    site.record(replace(change.planned, reason=one_line(reason) if reason else None))
    site.record(Approved(approvals=tuple(one.digest for one in standing.approvals)))

    def stage() -> None:
        for work in crew:
            work.driver.stage(work.plan, work.context)

    machine.drive(forward=True, stage=stage)
    return _ended(site, tell, "rollback", None)


def confirm(site: Site, tools: Tools, *, signer: Signer | None, tell: Tell) -> Ended:
    """End a trial that waits for a person.

    Raises:
        RefusedError: Nothing is on trial, or the key's owner is not among those who may say so.
    """
    now = site.state.transaction
    if now is None or now.state != State.PROBING or not now.passed:
        raise RefusedError("nothing waits to be confirmed", where="confirm", remedy="waybill status", finding="idle")
    site.make_room()
    word = confirming(site, trial_plan(site, now), signer)
    Machine(site, tools).drive(forward=False, confirmed=ByHand(word))
    return _ended(site, tell, "confirm", None)


def recover(site: Site, tools: Tools, *, tell: Tell, due: bool = False) -> tuple[str, Ended]:
    """Finish or undo what was cut off; what was done, in words, and how it ended. Safe to run at any time.

    Args:
        due: Nobody is here: end a trial whose time is up, count the time of one that goes on, and leave alone what
            only a person may try again.
    """
    before = site.state
    if before.open_transaction is not None:
        site.make_room()
    machine = Machine(site, tools)
    rest = machine.drive(forward=False, again="" if due else "any", due=due)
    after = site.state
    awaited = ""
    if rest.why == "person" and due:
        # What the clock of this boot counted must not be lost with the boot.
        site.record(Note(code=TICK))
        awaited = f"a person's word is awaited; {trial_words(site)}"
    if after.seq == before.seq and rest.why in ("idle", "person") and (again := _start_again(site, tools)):
        return f"started again: {', '.join(again)}", _ended(site, tell, "recover", None, expected_back=True)
    if after.seq == before.seq:
        what = "nothing was unfinished" if rest.why in ("idle", "person") else f"at rest: {rest.why}"
        return awaited or what, Ended(after.running, outcome_of(site), None)
    now = after.transaction
    what = f"now {now.state}" if now is not None else "current was set right"
    return what, _ended(site, tell, "recover", None)


def _start_again(site: Site, tools: Tools) -> tuple[str, ...]:
    """Activate those steps of the generation that runs which are not as they should be, such as after a reboot."""
    running = site.state.running
    if running is None:
        return ()
    done = []
    for work in crew_of(site, installed_of(site, running), tools.load):
        wrong = [one.problem for one in work.driver.observe(work.plan, work.context) if one.problem]
        if wrong:
            tools.say(f"{work.step}: {'; '.join(wrong)}; starting it again")
            site.record(Note(code="start-again", detail=one_line(f"{work.step}: {'; '.join(wrong)}")))
            work.driver.activate(work.plan, work.context)
            done.append(work.step)
    return tuple(done)


def _ended(site: Site, tell: Tell, cause: str, need: Need | None, *, expected_back: bool = False) -> Ended:
    """Tell support, and say how it ended; a report that cannot be written never hides the outcome."""
    error = outcome_of(site)
    now = site.state.transaction
    if expected_back and now is not None and now.state == State.ROLLED_BACK:
        error = None
    report = None
    try:
        # Without a vendor there is nobody to tell, and going back works all the same.
        report = None if site.state.offboarded else tell(site, cause)
    except (WaybillError, OSError) as failure:
        if error is None:
            error = AttentionError(
                f"done, but the report about it could not be written: {failure}",
                where="outbox",
                remedy="waybill report --new, when that is mended",
                finding="report-unwritten",
            )
    if error is None and now is not None and now.state == State.CONFIRMED:
        error = AttentionError(
            f"generation {now.planned.target} is confirmed, but cleaning up failed: {now.detail}",
            where="store",
            remedy="waybill recover tries again",
            finding="unsettled",
        )
    return Ended(site.state.running, error, report, need)
