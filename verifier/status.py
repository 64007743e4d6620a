"""What runs at a site, what is unfinished, what waits. Reads, writes nothing, and so works on a full disk."""

from dataclasses import dataclass
from datetime import datetime

from manifests.console import age, table
from manifests.errors import AttentionError, WaybillError
from verifier.drivers import Component
from verifier.events import (
    Approved,
    Confirmed,
    Enrolled,
    Intent,
    KeyRenewed,
    KeyRotated,
    Note,
    OffboardAsked,
    OffboardDone,
    Offboarded,
    Outcome,
    Planned,
    PolicyInForce,
    Received,
    Record,
    Reported,
    RevocationsInForce,
    RootInForce,
    RootReplaced,
    TimeAcknowledged,
    Tried,
    Verdict,
)
from verifier.install import check_idle
from verifier.machine import outcome_of
from verifier.queue import Waiting
from verifier.review import queue_text
from verifier.site import Site
from verifier.state import SiteState
from verifier.table import State
from verifier.trust import running_revoked
from verifier.verify import VERIFIER_VERSION


@dataclass(frozen=True)
class Status:
    """Attributes: error: the unfinished or failed transaction, which is said first."""

    text: str
    error: WaybillError | None


def status_of(
    site: Site,
    waiting: tuple[Waiting, ...],
    components: tuple[Component, ...] | None,
    now: datetime,
    *,
    unseen: str = "",
) -> Status:
    """``components`` is None when they were not looked at; ``unseen`` says why they could not be."""
    state = site.state
    lines = [*_unproved(site), *_unfinished(site)]
    running = state.running
    lines.append(f"site       {state.site}{'  (practice)' if state.practice else ''}")
    if running is None:
        lines.append("runs       nothing is installed")
    else:
        lines.append(
            f"runs       {running.product} {running.version}, generation {running.number}, "
            f"for {age(running.since, now)} ({running.state})"
        )
    if state.below_floor:
        lines.append("           below the floor, by the vendor's authorisation and the word of the people here")
    if revoked := running_revoked(site):
        lines.append(f"           running revoked: {revoked}")
    for one in components or ():
        lines.append(f"           {one.step}/{one.name}: {one.problem or one.level}")
    if unseen:
        lines.append(f"           what is there cannot be seen: {unseen}")
    for health in state.health:
        failing = f", {health.failures} times in a row" if health.failures else ""
        lines.append(f"           probe {health.probe}: {health.state}{failing}")
    mark = f"{state.channel} {state.mark.sequence}" if state.mark else f"{state.channel}, nothing received"
    lines.append(f"known      {mark}; floor {state.floor.sequence if state.floor else 'none yet'}")
    root = "no root is believed" if state.offboarded else f"root {state.root.version or 1} of {state.vendor}"
    lines.append(f"policy     number {state.policy_number}; {root}")
    if state.root_line:
        lines.append(f"           replaced on paper {state.root_line} times, last because: {state.root_reason}")
    if state.time_claimed:
        lines.append(
            f"time       {state.time_claimed} is claimed; waybill confirm --time {state.time_claimed} believes it"
        )
    lines.append(f"revoked    by list {state.revocations[0]}" if state.revocations else "revoked    no list yet")
    held = f"; home holds {state.acknowledged[0]}" if state.acknowledged else ""
    lines.append(f"report     number {state.report_seq}{held}" if state.report_seq else "report     none yet")
    if state.consignment:
        newest = ", ".join(f"{channel} {mark.sequence}" for channel, mark in state.newest) or "nothing newer known"
        lines.append(f"vendor     consignment {state.consignment}; has {newest}")
    if state.torn or site.torn:
        lines.append(f"journal    {state.torn + bool(site.torn)} times its last line was cut off by a crash")
    if state.clock_back:
        lines.append(f"clock      went backwards {state.clock_back} times")
    for alarm in state.alarms:
        lines.append(f"alarm      {alarm.code}: {alarm.detail}")
    lines += _offboarding(state)
    lines.append(f"verifier   {VERIFIER_VERSION}")
    lines += ["", queue_text(waiting), "", generations_text(state)]
    error: WaybillError | None = None
    try:
        _ = site.policy
        check_idle(site)
        if state.inconsistent:
            error = outcome_of(state)
    except WaybillError as found:
        error = outcome_of(state) or found
    wrong = [f"{one.step}/{one.name}: {one.problem}" for one in components or () if one.problem]
    if error is None and wrong:
        error = AttentionError(
            "; ".join(wrong),
            where="components",
            remedy="waybill recover starts again what should run",
            finding="drift",
        )
    if error is None and revoked:
        error = AttentionError(
            f"{running.version if running else ''} is running revoked: {revoked}",
            where="release",
            remedy="install the release that replaces it, or waybill rollback; until then everything goes on",
            finding="running-revoked",
        )
    return Status(text="\n".join(lines).rstrip(), error=error)


def _offboarding(state: SiteState) -> list[str]:
    """How far the end of the vendor's access is."""
    now = state.offboarding
    if now is None:
        return []
    if now.done is None:
        return [f"vendor     asked at {now.asked_at} that its access ends ({now.asked.reason}): {now.asked.detail}"]
    count = {word: sum(one.outcome == word for one in now.tried) for word in ("refused", "unproven", "accepted")}
    proof = ", ".join(f"{number} {word}" for word, number in count.items() if number) or "nothing tried yet"
    unfinished = "" if now.ended else "; unfinished: waybill offboard goes on"
    return [f"vendor     its access ended at {now.done_at} ({now.done.reason}); {proof}{unfinished}"]


def _unproved(site: Site) -> list[str]:
    """Before anything else: the journal names a policy to which its people did not agree."""
    try:
        _ = site.policy
    except WaybillError as error:
        return [f"! {error.problem}", f"  {error.remedy}", ""]
    return []


def _unfinished(site: Site) -> list[str]:
    """The last transaction, when it did not simply succeed: always the first thing that is said."""
    now = site.state.transaction
    if now is None or now.state == State.SETTLED:
        return []
    error = outcome_of(site.state)
    if error is not None:
        return [f"! {error.problem}", f"  {error.remedy}", ""]
    if now.state == State.CONFIRMED:
        return [f"! generation {now.planned.target} is confirmed; cleaning up is unfinished: {now.detail}", ""]
    why = f": {now.detail}" if now.detail else ""
    return [f"! {now.action} of {now.planned.item} has not switched ({now.state}){why}; nothing was changed", ""]


def generations_text(state: SiteState) -> str:
    if not state.generations:
        return ""
    rows: list[tuple[str, ...]] = []
    for one in state.generations:
        here = "runs" if one.number == state.current else "former" if one.number == state.former else ""
        rows.append((str(one.number), one.version, str(one.state), one.since, here))
    return table(rows, ("generation", "version", "state", "since", ""))


def history_text(records: tuple[Record, ...], *, every: bool = False) -> str:
    """One line per entry: when, who, what. Without ``every`` in words, and without the steps that simply succeeded."""
    rows: list[tuple[str, ...]] = []
    for record in records:
        actor = record.actor.account + (f" (sudo by {record.actor.sudo})" if record.actor.sudo else "")
        said = _told(record) if every else _in_words(record)
        if said:
            rows.append((str(record.seq), record.at, actor, said))
    return table(rows, ("entry", "time", "account", "event"))


def _in_words(record: Record) -> str:
    """What an officer wants to know of an entry; empty for one that only matters after a crash."""
    match record.event:
        case Enrolled(site=site, vendor=vendor):
            return f"enrolled as {site}, trusting {vendor}"
        case Received(item=item, product=product, version=version, channel=channel, mark=mark):
            return f"received {item}: {product} {version}, {channel} {mark.sequence}"
        case Verdict(item=item, person=person, role=role, verdict=verdict, condition=condition):
            word = "approved" if verdict == "approve" else "rejected"
            return f"{person} ({role}) {word} {item}" + (f": {condition}" if condition else "")
        case Planned(action=action, item=item, source=source, target=target, version=version, reason=reason) as begun:
            why = f": {reason}" if reason else ""
            why += f"; outside of the window: {begun.outside_window}" if begun.outside_window else ""
            return f"{action} of {item} begins, generation {source} to {target} ({version}){why}"
        case Approved(rule=rule) if rule is not None:
            return f"agreed by the emergency rule {rule}"
        case Intent() | Approved():
            return ""
        case Outcome(act=act, step=step, result="done"):
            return {"switch": "switched", "retreat": "went back"}.get(act, "") if step is None else ""
        case Outcome(act=act, step=step, detail=detail):
            return f"{act}{f' of {step}' if step else ''} failed: {detail}"
        case Confirmed(generation=generation, by=by, floor=floor):
            return f"generation {generation} confirmed by {by}" + (f", floor {floor.sequence}" if floor else "")
        case Reported(seq=seq):
            return f"report {seq} written"
        case KeyRotated(key_epoch=epoch):
            return f"the site speaks by key {epoch}, which the one before vouches for"
        case KeyRenewed(key_epoch=epoch, reason=reason):
            return f"the site speaks by key {epoch} ({reason}); its reports begin anew"
        case RootReplaced(pin=pin, reason=reason):
            return f"root replaced on paper by version {pin.version}, {pin.digest[:19]}: {reason}"
        case RootInForce(pin=pin):
            return f"root {pin.version} in force"
        case RevocationsInForce(version=version):
            return f"revocation list {version} in force"
        case TimeAcknowledged(time=time, person=person):
            return f"{person} says that time has passed until {time}"
        case OffboardAsked(reason=reason, detail=detail):
            return f"asked that the vendor's access ends ({reason}): {detail}"
        case Offboarded(reason=reason):
            return f"the vendor's access ended ({reason}); nothing of it is believed from here on"
        case Tried(kind=kind, outcome=outcome, detail=detail):
            return f"{kind} that was believed before: {outcome}: {detail}"
        case OffboardDone(report=seq, key=key):
            return f"offboarding complete: report {seq} is the last one, the site's key is {key}"
        case PolicyInForce(number=number, gone=gone, reason=reason) if reason is not None:
            return f"policy {number} in force, founded anew without {', '.join(gone)}: {reason}"
        case PolicyInForce(number=number):
            return f"policy {number} in force"
        case Note(code=code, detail=detail):
            return f"{code}: {detail}" if detail else str(code)
        case _:
            return _told(record)


def _told(record: Record) -> str:
    """The event's kind and those of its fields that are not digests, in the journal's own words."""
    event = record.event
    kind = type(event).__struct_config__.tag
    parts = []
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if value is None or value is False or value in ("", ()):
            continue
        if isinstance(value, str) and value.startswith("sha256:"):
            value = value[:19]
        if isinstance(value, str | int):
            parts.append(f"{name}={value}")
    return " ".join([str(kind), *parts])
