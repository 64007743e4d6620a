"""The journal for people: who did what, when, with which inputs, and what came of it. Pure.

The account is what the host says, a witness and no more; the person is whose key the policy lists.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from manifests.words.text import short_digest, table
from verifier.approval.page import Page, Row, Section, Table
from verifier.site.folder import Site
from verifier.site.journal.events import (
    Alarm,
    Approved,
    AskedAgain,
    Confirmed,
    Consigned,
    Enrolled,
    Event,
    Inconsistent,
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
    Proposed,
    Received,
    Record,
    Reported,
    RevocationsInForce,
    RootInForce,
    RootReplaced,
    TimeAcknowledged,
    Torn,
    Tried,
    Verdict,
)

# Keeps the sealed config from being guessed; it is not told, for a history is carried to auditors.
SALT = "salt"
ALARMING = ("failed", "interrupted", "accepted", "alarm", "inconsistent")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_KEYID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class HistoryLine:
    """One entry of the journal, in words.

    Attributes:
        person: Whose key was used; empty where none was.
        inputs: (name, digest) of all that the entry names by digest.
        result: Of an act, a probe, a verdict; empty for what simply happened.
        words: Empty for an entry that matters only after a crash.
    """

    record: Record
    who: str
    person: str
    words: str
    inputs: tuple[tuple[str, str], ...]
    result: str

    def as_dict(self) -> dict[str, object]:
        """The entry for programs, without the salt."""
        record = self.record
        return {
            "seq": record.seq,
            "at": record.at,
            "boot": record.boot,
            "account": record.actor.account,
            "uid": record.actor.uid,
            "sudo": record.actor.sudo,
            "person": self.person or None,
            "inputs": [list(pair) for pair in self.inputs],
            "result": self.result or None,
            "words": self.words or None,
            "event": {key: value for key, value in msgspec.to_builtins(record.event).items() if key != SALT},
        }


def history_lines(records: Iterable[Record]) -> tuple[HistoryLine, ...]:
    """Return a line for each record, oldest first. Approvers' names come from earlier verdicts."""
    people: dict[str, str] = {}
    lines = []
    for record in records:
        event = record.event
        if isinstance(event, Verdict):
            people[event.envelope] = f"{event.person} ({event.role})"
        lines.append(
            HistoryLine(
                record=record,
                who=actor_text(record),
                person=_person(event, people),
                words=_in_words(record),
                inputs=tuple(_inputs(event)),
                result=_result(event),
            )
        )
    return tuple(lines)


def actor_text(record: Record) -> str:
    actor = record.actor
    return f"{actor.account} (uid {actor.uid}{f', sudo by {actor.sudo}' if actor.sudo else ''})"


def _person(event: Event, people: dict[str, str]) -> str:
    match event:
        case Verdict(person=person, role=role):
            return f"{person} ({role})"
        case TimeAcknowledged(person=str(person), role=role) | Confirmed(person=str(person), role=role):
            return f"{person} ({role})" if role else person
        case Approved(approvals=approvals) | PolicyInForce(approvals=approvals) | Offboarded(approvals=approvals):
            return ", ".join(people.get(approval, short_digest(approval)) for approval in approvals)
        case _:
            return ""


def _inputs(event: Event) -> Iterable[tuple[str, str]]:
    for name, value in _fields(msgspec.to_builtins(event)):
        if name != SALT and isinstance(value, str) and (_DIGEST.fullmatch(value) or _KEYID.fullmatch(value)):
            yield name, value


def _fields(value: object, name: str = "") -> Iterable[tuple[str, object]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _fields(item, f"{name}.{key}" if name else key)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _fields(item, name)
    else:
        yield name, value


def _result(event: Event) -> str:
    match event:
        case Outcome(result=result):
            return str(result)
        case Tried(outcome=outcome):
            return str(outcome)
        case Verdict(verdict=verdict):
            return "agreed" if verdict == "approve" else "rejected"
        case Alarm():
            return "alarm"
        case Inconsistent():
            return "inconsistent"
        case _:
            return ""


def journal_facts(site: Site) -> tuple[str, ...]:
    """Return whether the journal's chain is intact, and whether a crash cut off its last line."""
    state = site.state
    lines = [f"the chain of {state.seq} entries is unbroken; its head is {state.head}"]
    if site.broken is not None:
        lines = [f"! {site.broken.problem}", f"  the {state.seq} entries before the break are unbroken"]
    if site.torn:
        lines.append(f"a crash cut off the last line ({site.torn} bytes); `waybill recover` removes and records it")
    return tuple(lines)


def history_text(site: str, facts: tuple[str, ...], lines: tuple[HistoryLine, ...]) -> str:
    """One line for each entry that matters to people: number, time, who, what happened."""
    rows: list[tuple[str, ...]] = []
    for line in lines:
        if line.words:
            result = f" [{line.result}]" if line.result in ALARMING else ""
            at = line.record.at.replace("T", " ").removesuffix("Z")
            rows.append((str(line.record.seq), at, line.person or line.record.actor.account, line.words + result))
    return "\n".join([f"journal of {site}", *facts, "", table(rows, ("entry", "time (UTC)", "who", "event"))])


def history_page(
    site: str, lead: tuple[str, ...], lines: tuple[HistoryLine, ...], *, every: bool, about: str = ""
) -> Page:
    """One section for each time that the host was started.

    Args:
        every: Also what only matters after a crash, in the journal's own words and with whole digests.
    """
    sections = []
    boots: list[tuple[str, list[HistoryLine]]] = []
    for line in lines:
        if not boots or boots[-1][0] != line.record.boot:
            boots.append((line.record.boot, []))
        boots[-1][1].append(line)
    for boot, of_boot in boots:
        rows = tuple(_row(line, every=every) for line in of_boot if every or line.words)
        sections.append(Section(f"boot {boot}", table=Table(_HEAD, rows)))
    return Page(title=f"journal of {site}", lead=lead, sections=tuple(sections), about=about)


_HEAD = ("entry", "time", "account", "person", "event", "inputs", "result")


def _row(line: HistoryLine, *, every: bool) -> Row:
    record = line.record
    words = _told(record) if every else line.words
    inputs = ", ".join(f"{name} {value if every else short_digest(value)}" for name, value in line.inputs)
    failed = line.result in ALARMING
    cells = (str(record.seq), record.at, line.who, line.person, words, inputs, line.result)
    return Row(cells, "warning" if failed else None)


def _in_words(record: Record) -> str:
    """Return what a person needs to know about an entry; empty for one that matters only after a crash."""
    match record.event:
        case Enrolled(site=site, vendor=vendor):
            return f"enrolled as {site}, trusting {vendor}"
        case Received(item=item, product=product, version=version, channel=channel, mark=mark):
            return f"received {item}: {product} {version}, {channel} {mark.sequence}"
        case Verdict(item=item, verdict=verdict, condition=condition):
            word = "approved" if verdict == "approve" else "rejected"
            return f"{word} {item}" + (f": {condition}" if condition else "")
        case Reported(seq=seq):
            return f"report {seq} written"
        case Proposed(item=item, account=account):
            what = "policy.yaml" if item == "policy" else "site.yaml"
            return f"{what}, owned by {account}, differs from what is in force"
        case Consigned() as came:
            return _consigned(came)
        case Alarm(code=code, detail=detail) | Note(code=code, detail=detail):
            return f"{code}: {detail}" if detail else str(code)
        case Torn(bytes=count):
            return f"unfinished last entry removed, {count} bytes: the host stopped while writing it"
        case Planned() | Approved() | Intent() | Outcome() | Confirmed() | Inconsistent() | AskedAgain() as event:
            return _change_text(event)
        case OffboardAsked() | Offboarded() | Tried() | OffboardDone() as event:
            return _offboarding_text(event)
        case event:
            return _trust_text(event)


def _change_text(event: Planned | Approved | Intent | Outcome | Confirmed | Inconsistent | AskedAgain) -> str:
    """Return the text of an entry about an installation or a rollback."""
    match event:
        case Planned(action=action, item=item, source=source, target=target, version=version, reason=reason) as begun:
            why = f", below the floor by authorisation {begun.authorisation}" if begun.authorisation else ""
            why += f": {reason}" if reason else ""
            why += f"; outside of the window: {begun.outside_window}" if begun.outside_window else ""
            return f"{action} of {item} begins, generation {source} to {target} ({version}){why}"
        case Approved(rule=rule) if rule is not None:
            return f"approved by the emergency rule {rule}"
        case Approved(approvals=approvals) if approvals:
            return "approvals counted"
        case Intent() | Approved():
            return ""
        case Outcome(act=act, step=step, result="done"):
            return {"switch": "switched", "retreat": "rolled back"}.get(act, "") if step is None else ""
        case Outcome(act=act, step=step, detail=detail):
            return f"{act}{f' of {step}' if step else ''} failed: {detail}"
        case Confirmed(generation=generation, by=by, floor=floor):
            return f"generation {generation} confirmed by {by}" + (f", floor {floor.sequence}" if floor else "")
        case Inconsistent(code=code, detail=detail):
            return f"neither the old nor the new generation could be restored: {detail or code}"
        case AskedAgain(way=way):
            return f"retry requested, {way}"


def _trust_text(
    event: KeyRotated | KeyRenewed | RootReplaced | RootInForce | RevocationsInForce | TimeAcknowledged | PolicyInForce,
) -> str:
    """Return the text of an entry about keys, roots, revocations, times and policies."""
    match event:
        case KeyRotated(key_epoch=epoch):
            return f"site key rotated to key {epoch} (signed by the key before it)"
        case KeyRenewed(key_epoch=epoch, reason=reason):
            return f"site key renewed to key {epoch} ({reason}); a new series of reports begins"
        case RootReplaced(pin=pin, reason=reason):
            return f"root replaced from paper by version {pin.version}, {pin.digest}: {reason}"
        case RootInForce(pin=pin):
            return f"root {pin.version} in force"
        case RevocationsInForce(version=version):
            return f"revocation list {version} in force"
        case TimeAcknowledged(time=time, person=person):
            return f"{person} confirmed the time {time}"
        case PolicyInForce(number=number, gone=gone, reason=reason) if reason is not None:
            return f"policy {number} in force, replaced without {', '.join(gone)}: {reason}"
        case PolicyInForce(number=number):
            return f"policy {number} in force"


def _offboarding_text(event: OffboardAsked | Offboarded | Tried | OffboardDone) -> str:
    """Return the text of an entry about the end of the vendor's access."""
    match event:
        case OffboardAsked(reason=reason, detail=detail):
            return f"end of the vendor's access requested ({reason}): {detail}"
        case Offboarded(reason=reason):
            return f"the vendor's access ended ({reason}); nothing from the vendor is trusted any more"
        case Tried(kind=kind, outcome=outcome, detail=detail):
            return f"{kind} accepted before the end was tried again: {outcome}: {detail}"
        case OffboardDone(report=seq, key=key):
            return f"offboarding complete: report {seq} is the last one, the site's key is {key}"


def _consigned(came: Consigned) -> str:
    parts = [f"support holds report {came.acknowledged}"] if came.acknowledged is not None else []
    parts += [f"newest for this site {one.channel} {one.mark.sequence}" for one in came.newest]
    parts += [f"request {one.request} ({one.handler}): {one.outcome.replace('-', ' ')}" for one in came.answers]
    if came.authorisations:
        parts.append(f"authorisations of rollbacks below the floor: {len(came.authorisations)}")
    return f"consignment {came.number} of {came.issued_at}" + (f": {'; '.join(parts)}" if parts else "")


def _told(record: Record) -> str:
    """The event's kind and those of its fields that are not digests, in the journal's own words."""
    event = record.event
    kind = type(event).__struct_config__.tag
    parts = []
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if value is None or value is False or value in ("", ()):
            continue
        # Digests stand under inputs.
        if isinstance(value, str | int) and not _DIGEST.fullmatch(str(value)) and not _KEYID.fullmatch(str(value)):
            parts.append(f"{name}={value}")
    return " ".join([str(kind), *parts])
