"""The journal for people: who did what, when, with which inputs, and with which result. Reads nothing, writes nothing.

The account is a claim of the host. The person is proved by a key that the policy lists.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

import msgspec

from manifests.words.text import short_digest, table
from manifests.words.units import show_size
from verifier.approval.page import Page, Row, Section, Table
from verifier.site.folder import Site
from verifier.site.journal import events as e
from verifier.site.journal.events import Event, Record

# Keeps the sealed config from being guessed. It is left out, because auditors get the history.
SALT = "salt"
ALARMING = ("failed", "interrupted", "accepted", "alarm", "inconsistent")
_IDENTIFIER = re.compile(r"(sha256:)?[0-9a-f]{64}")


_ChangeEvent = e.Planned | e.Approved | e.Intent | e.Outcome | e.Confirmed | e.Inconsistent | e.AskedAgain
_TrustEvent = (
    e.KeyRotated | e.KeyRenewed | e.RootReplaced | e.RootInForce | e.RevocationsInForce | e.TimeAcknowledged
    | e.PolicyInForce
)  # fmt: skip


@dataclass(frozen=True)
class HistoryLine:
    """One entry of the journal.

    Attributes:
        person: Person whose key was used; empty without a key.
        words: The event in one sentence; empty for an entry that matters only after a crash.
        inputs: (field, value) of each digest and key id in the event.
        result: Result of an act, a probe or a verdict; empty for other events.
    """

    record: Record
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
        if isinstance(event, e.Verdict):
            people[event.envelope] = f"{event.person} ({event.role})"
        lines.append(
            HistoryLine(
                record=record,
                person=_person(event, people),
                words=_in_words(record.event),
                inputs=tuple(_inputs(event)),
                result=_result(event),
            )
        )
    return tuple(lines)


def _person(event: Event, people: dict[str, str]) -> str:
    match event:
        case e.Verdict(person=person, role=role):
            return f"{person} ({role})"
        case e.TimeAcknowledged(person=str(person), role=role) | e.Confirmed(person=str(person), role=role):
            return f"{person} ({role})" if role else person
        case (
            e.Approved(approvals=approvals)
            | e.PolicyInForce(approvals=approvals)
            | e.Offboarded(approvals=approvals)
            | e.HandlerBegan(approvals=approvals)
        ):
            return ", ".join(people.get(approval, short_digest(approval)) for approval in approvals)
        case _:
            return ""


def _inputs(event: Event) -> Iterable[tuple[str, str]]:
    for name, value in _fields(msgspec.to_builtins(event)):
        if name != SALT and isinstance(value, str) and _IDENTIFIER.fullmatch(value):
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
        case e.Outcome(result=result) | e.Tried(outcome=result) | e.HandlerEnded(outcome=result):
            return str(result)
        case e.Verdict(verdict=verdict):
            return "agreed" if verdict == "approve" else "rejected"
        case e.Alarm():
            return "alarm"
        case e.Inconsistent():
            return "inconsistent"
        case _:
            return ""


def journal_facts(site: Site) -> tuple[str, ...]:
    """Return whether the journal's chain is intact, and whether a crash cut off its last line."""
    state = site.state
    entries = f"{state.seq} {'entry' if state.seq == 1 else 'entries'}"
    lines = [f"the chain of {entries} is unbroken; its head is {state.head}"]
    if site.broken is not None:
        lines = [f"! {site.broken.problem}", f"  the chain before the break, {entries}, is unbroken"]
    if site.torn:
        lines.append(f"a crash cut off the last line ({site.torn} bytes); `waybill recover` removes and records it")
    return tuple(lines)


def history_text(site: str, facts: tuple[str, ...], lines: tuple[HistoryLine, ...]) -> str:
    """Return the facts and a table with a row for each entry that has words."""
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
    """Return a page with one section for each boot of the host.

    Args:
        every: Include entries that matter only after a crash, with the journal's field names and full digests.
    """
    sections = []
    for boot, of_boot in groupby(lines, lambda line: line.record.boot):
        rows = tuple(_row(line, every=every) for line in of_boot if every or line.words)
        head = ("entry", "time", "account", "person", "event", "inputs", "result")
        sections.append(Section(f"boot {boot}", table=Table(head, rows)))
    return Page(title=f"journal of {site}", lead=lead, sections=tuple(sections), about=about)


def _row(line: HistoryLine, *, every: bool) -> Row:
    record, actor = line.record, line.record.actor
    account = f"{actor.account} (uid {actor.uid}{f', sudo by {actor.sudo}' if actor.sudo else ''})"
    words = _field_text(record.event) if every else line.words
    inputs = ", ".join(f"{name} {value if every else short_digest(value)}" for name, value in line.inputs)
    cells = (str(record.seq), record.at, account, line.person, words, inputs, line.result)
    return Row(cells, "warning" if line.result in ALARMING else None)


def _in_words(event: Event) -> str:
    """Return the entry in one sentence; empty for one that matters only after a crash."""
    match event:
        case e.Enrolled(site=site, vendor=vendor):
            return f"enrolled as {site}, trusting {vendor}"
        case e.Received(item=item, product=product, version=version, channel=channel, mark=mark):
            return f"received {item}: {product} {version}, {channel} {mark.sequence}"
        case e.Verdict(item=item, verdict=verdict, condition=condition):
            action = "approved" if verdict == "approve" else "rejected"
            return f"{action} {item}" + (f": {condition}" if condition else "")
        case e.Reported(seq=seq):
            return f"report {seq} written"
        case e.Proposed(item=item, account=account):
            return f"{'policy' if item == 'policy' else 'site'}.yaml, owned by {account}, differs from what is in force"
        case e.Consigned():
            return _consigned(event)
        case e.Alarm(code=code, detail=detail) | e.Note(code=code, detail=detail):
            return f"{code}: {detail}" if detail else str(code)
        case e.Torn(bytes=count):
            return f"unfinished last entry removed, {count} bytes: the host stopped while writing it"
        case e.Planned() | e.Approved() | e.Intent() | e.Outcome() | e.Confirmed() | e.Inconsistent() | e.AskedAgain():
            return _change_text(event)
        case e.OffboardAsked() | e.Offboarded() | e.Tried() | e.OffboardDone():
            return _offboarding_text(event)
        case e.HandlerAsked() | e.RequestRefused() | e.HandlerBegan() | e.HandlerEnded():
            return _handler_text(event)
        case _:
            return _trust_text(event)


def _change_text(event: _ChangeEvent) -> str:
    """Return the text of an entry about an installation or a rollback."""
    match event:
        case e.Planned(action=action, item=item, source=source, target=target, version=version, reason=reason):
            why = f", below the floor by authorisation {event.authorisation}" if event.authorisation else ""
            why += f": {reason}" if reason else ""
            why += f"; outside of the window: {event.outside_window}" if event.outside_window else ""
            return f"{action} of {item} begins, generation {source} to {target} ({version}){why}"
        case e.Approved(rule=rule) if rule is not None:
            return f"approved by the emergency rule {rule}"
        case e.Approved(approvals=approvals) if approvals:
            return "approvals counted"
        case e.Intent() | e.Approved():
            return ""
        case e.Outcome(act="backup" | "try" | "restore", result="done"):
            return _backup_text(event)
        case e.Outcome(act=act, step=step, result="done"):
            return {"switch": "switched", "retreat": "rolled back"}.get(act, "") if step is None else ""
        case e.Outcome(act=act, step=step, detail=detail):
            return f"{act}{f' of {step}' if step else ''} failed: {detail}"
        case e.Confirmed(generation=generation, by=by, floor=floor):
            return f"generation {generation} confirmed by {by}" + (f", floor {floor.sequence}" if floor else "")
        case e.Inconsistent(code=code, detail=detail):
            return f"neither the old nor the new generation could be restored: {detail or code}"
        case e.AskedAgain(way=way):
            return f"retry requested, {way}"


def _backup_text(event: e.Outcome) -> str:
    """Return the text of an entry about a backup that was made, tried or restored: sizes, and what programs stated."""
    if event.act == "try":
        proved = f"proves {event.proof.words}, as in the backup" if event.proof else "proves nothing"
        return f"restore of {event.step} from its backup tried: {proved}"
    stated = f", {event.proof.words}" if event.proof else ""
    if event.act == "restore":
        # Journals of before have no sizes of what was restored.
        sizes = f": {show_size(event.size)}{stated}; the data have {show_size(event.saved_bytes)} now"
        return f"{event.step} restored from its backup{sizes if event.digest else ''}"
    saved = f" of {show_size(event.saved_bytes)}" if event.saved_bytes else ""
    return f"backup of {event.step} made: {show_size(event.size)}{saved}{stated}"


def _trust_text(event: _TrustEvent) -> str:
    """Return the text of an entry about keys, roots, revocations, times and policies."""
    match event:
        case e.KeyRotated(key_epoch=epoch):
            return f"site key rotated to key {epoch} (signed by the key before it)"
        case e.KeyRenewed(key_epoch=epoch, reason=reason):
            return f"site key renewed to key {epoch} ({reason}); a new series of reports begins"
        case e.RootReplaced(pin=pin, reason=reason):
            return f"root replaced from paper by version {pin.version}, {pin.digest}: {reason}"
        case e.RootInForce(pin=pin):
            return f"root {pin.version} in force"
        case e.RevocationsInForce(version=version):
            return f"revocation list {version} in force"
        case e.TimeAcknowledged(time=time, person=person):
            return f"{person} confirmed the time {time}"
        case e.PolicyInForce(number=number, gone=gone, reason=reason) if reason is not None:
            return f"policy {number} in force, replaced without {', '.join(gone)}: {reason}"
        case e.PolicyInForce(number=number):
            return f"policy {number} in force"


def _offboarding_text(event: e.OffboardAsked | e.Offboarded | e.Tried | e.OffboardDone) -> str:
    """Return the text of an entry about the end of the vendor's access."""
    match event:
        case e.OffboardAsked(reason=reason, detail=detail):
            return f"end of the vendor's access requested ({reason}): {detail}"
        case e.Offboarded(reason=reason):
            return f"the vendor's access ended ({reason}); nothing from the vendor is trusted any more"
        case e.Tried(kind=kind, outcome=outcome, detail=detail):
            return f"{kind} accepted before the end was tried again: {outcome}: {detail}"
        case e.OffboardDone(report=seq, key=key):
            return f"offboarding complete: report {seq} is the last one, the site's key is {key}"


def _handler_text(event: e.HandlerEvent) -> str:
    """Return the text of an entry about the use of a handler."""
    match event:
        case e.HandlerAsked(number=number, handler=handler, parameters=parameters):
            given = "".join(f" {name}={value}" for name, value in sorted(parameters.items()))
            return f"h-{number}: {handler}{given} asked for"
        case e.RequestRefused(item=item, reason=reason):
            return f"{item} refused: {reason.replace('-', ' ')}"
        case e.HandlerBegan(item=item, handler=handler):
            return f"{item}: {handler} begins"
        case e.HandlerEnded(item=item, outcome=outcome, reason=reason, seconds=seconds):
            why = f" ({reason.replace('-', ' ')})" if reason else ""
            leaves = f"; the values of {event.signal} leave with the next report" if event.signal else ""
            return f"{item} {outcome.replace('-', ' ')}{why} after {seconds} s{leaves}"


def _consigned(event: e.Consigned) -> str:
    parts = [f"support holds report {event.acknowledged}"] if event.acknowledged is not None else []
    parts += [f"newest for this site {one.channel} {one.mark.sequence}" for one in event.newest]
    parts += [f"request {one.request} ({one.handler}): {one.words}" for one in event.answers]
    if event.authorisations:
        parts.append(f"authorisations of rollbacks below the floor: {len(event.authorisations)}")
    return f"consignment {event.number} of {event.issued_at}" + (f": {'; '.join(parts)}" if parts else "")


def _field_text(event: Event) -> str:
    """Return the event's type and its fields, without digests and key ids: these are the inputs."""
    parts = [str(type(event).__struct_config__.tag)]
    for name in event.__struct_fields__:
        value = getattr(event, name)
        # `is not False`: a number 0 is shown.
        if (
            isinstance(value, str | int)
            and value is not False
            and value != ""
            and not _IDENTIFIER.fullmatch(str(value))
        ):
            parts.append(f"{name}={value}")
    return " ".join(parts)
