"""The journal: append-only lines of canonical JSON, each naming the digest of the line before, in closed segments.

A power failure leaves an unfinished last line, cut short or with zeros in it. No command has reported it as done, so it
is cut off and recorded. Any other defect is an error and is never repaired automatically.
"""

import errno
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from manifests.trust.keys import read_capped
from manifests.words.canonical import LineReader, decode, encode, parse
from manifests.words.digest import digest_of
from manifests.words.errors import MalformedError, NewerError, UntrustedError, WaybillError
from verifier.site.disk import Disk
from verifier.site.host import Host
from verifier.site.journal.checkpoint import (
    EVERY,
    MAX_LINE,
    MAX_SEGMENT,
    SEGMENT,
    Checkpoint,
    digest_of_lines,
    read_checkpoint,
    segments,
)
from verifier.site.journal.events import Event, Record, Torn
from verifier.site.journal.fold import apply, empty_journal
from verifier.site.journal.state import SiteState

BROKEN = "journal-broken"
_READER = LineReader(Record, max_bytes=MAX_LINE)


class _Link(Struct, frozen=True):
    """The fields that a line of any version of the journal has."""

    prev: Annotated[str, Meta(max_length=71)]
    seq: int


class Entry(Struct, frozen=True):
    """A record and the digest of its line. Of a line before a checkpoint both are computed when they are asked for."""

    content: Record | bytes
    line_digest: str = ""

    @property
    def digest(self) -> str:
        return digest_of(self.content) if isinstance(self.content, bytes) else self.line_digest

    @property
    def record(self) -> Record:
        if isinstance(self.content, bytes):
            return parse(self.content, Record, "journal entry", max_bytes=MAX_LINE)
        return self.content


@dataclass(frozen=True)
class Tail:
    """The end of the journal.

    Attributes:
        segment: File of the last segment, None before the first.
        length: Bytes of it up to the last finished line.
        torn: Bytes after that.
        seq, digest: Of the last entry.
    """

    segment: Path | None
    length: int
    torn: int
    seq: int
    digest: str


EMPTY = Tail(segment=None, length=0, torn=0, seq=0, digest=digest_of(b""))


def read_journal(folder: Path) -> tuple[tuple[Entry, ...], Tail]:
    """Return all entries of an intact chain, and the end of the journal. Writes nothing.

    Raises:
        UntrustedError: A line is missing, changed or out of order.
        NewerError: The chain is intact, and a line is of a kind that only a newer verifier knows.
    """
    entries: list[Entry] = []
    tail = _walk(folder, entries)
    return tuple(entries), tail


def read_journal_from(folder: Path, known: Checkpoint) -> tuple[tuple[Entry, ...], Tail] | None:
    """Read the journal like `read_journal`, but do not decode the lines up to the entry of a checkpoint.

    One digest over all these lines is compared with the one that was computed when their chain was checked.

    Returns:
        None when the journal does not begin with them. Then the whole chain has to be checked.
    """
    entries: list[Entry] = []
    try:
        tail = _walk(folder, entries, known)
    except _OtherLinesError:
        return None
    return tuple(entries), tail


def read_intact_entries(folder: Path) -> tuple[tuple[Entry, ...], UntrustedError]:
    """Return the entries before the break of a broken journal, and the error that names the break."""
    entries: list[Entry] = []
    try:
        _walk(folder, entries)
    except UntrustedError as error:
        return tuple(entries), error
    raise ValueError("the journal is not broken")


class _OtherLinesError(Exception):
    """The journal does not begin with the lines that a checkpoint names."""


def _walk(folder: Path, entries: list[Entry], known: Checkpoint | None = None) -> Tail:
    """Add the entries of an intact chain to ``entries``, up to the first of an unknown kind.

    Args:
        known: The lines up to its entry are compared by one digest. Raises _OtherLinesError when they differ.
    """
    newer: NewerError | None = None
    left, hashed = known.state.seq if known is not None else 0, hashlib.sha256()
    tail, seq, digest = EMPTY, 0, EMPTY.digest
    for segment in segments(folder):
        if tail.torn:
            raise _broken(seq + 1, f"an unfinished line inside {tail.segment and tail.segment.name}")
        if segment.name != _name(seq + 1):
            raise _broken(seq + 1, f"the next segment is {segment.name}")
        data = read_capped(segment, MAX_SEGMENT)
        end = _finished(data)
        lines = data[:end].split(b"\n")[:-1]
        if known is not None and left > 0:
            before, lines = lines[:left], lines[left:]
            hashed.update(data[: len(before) + sum(map(len, before))])
            entries += map(Entry, before)
            seq, left, digest = seq + len(before), left - len(before), known.state.head
            if left == 0 and ("sha256:" + hashed.hexdigest(), entries[-1].digest) != (known.lines, digest):
                raise _OtherLinesError
        for line in lines:
            seq += 1
            try:
                record = _record(line, seq, digest)
                digest = digest_of(line)
                if newer is None:
                    entries.append(Entry(record, digest))
            except NewerError as error:
                # An edited line can look like this too. Then the next line does not follow it, and the chain is broken.
                newer, digest = newer or error, digest_of(line)
        tail = Tail(segment=segment, length=end, torn=len(data) - end, seq=seq, digest=digest)
    if known is not None and not 1 <= known.state.seq <= seq:
        raise _OtherLinesError
    if newer is not None:
        raise newer
    return tail


def _finished(data: bytes) -> int:
    """Return where the last complete line ends.

    Blocks reach the disk in any order, and a missing block reads as zeros. So a last line with a zero is unfinished.
    """
    end = data.rfind(b"\n") + 1
    start = data.rfind(b"\n", 0, max(0, end - 1)) + 1
    return start if b"\0" in data[start:end] else end


def _name(seq: int) -> str:
    return f"{seq:010}.jsonl"


def _record(line: bytes, seq: int, prev: str) -> Record:
    """Return the record of a line that must be entry ``seq`` and follow the line with digest ``prev``."""
    record = _READER.read(line)
    if record is None:
        try:
            record = parse(line, Record, f"journal entry {seq}", max_bytes=MAX_LINE)
        except MalformedError as error:
            if _follows(line, seq, prev):
                raise NewerError(
                    f"entry {seq} has a kind that this verifier does not know",
                    where="journal",
                    remedy="use the verifier that wrote the journal, or a newer one",
                ) from None
            raise _broken(seq, str(error)) from None
    if record.seq != seq:
        raise _broken(seq, f"found entry {record.seq}")
    if record.prev != prev:
        raise _broken(seq, "it does not follow the entry before it")
    return record


def _follows(line: bytes, seq: int, prev: str) -> bool:
    """Whether a line of an unknown kind is canonical and follows the line before it."""
    try:
        link = decode(line, _Link, "journal")
        return (link.seq, link.prev) == (seq, prev) and encode(decode(line, dict[str, object], "journal")) == line
    except MalformedError:
        return False


def _broken(seq: int, problem: str) -> UntrustedError:
    return UntrustedError(
        f"the chain is broken at entry {seq}: {problem}",
        where="journal",
        remedy="run `waybill history` to see what is intact, then follow "
        "docs/operations.md (When the journal is damaged)",
        finding=BROKEN,
    )


@dataclass
class Journal:
    """A journal that can be appended to. Its owner holds the site's lock.

    Attributes:
        entries: Those when it was opened.
        checkpoint: Whether the checkpoint is true, and recent enough to stay.
    """

    _folder: Path
    _disk: Disk
    _host: Host
    _state: SiteState | None
    _tail: Tail
    entries: tuple[Entry, ...] = ()
    checkpoint: bool = True
    _stuck: bool = False

    @classmethod
    def create(cls, folder: Path, disk: Disk, host: Host) -> "Journal":
        """Return an empty journal; the folder must exist."""
        return cls(folder, disk, host, None, EMPTY)

    @classmethod
    def open(cls, folder: Path, disk: Disk, host: Host) -> "Journal":
        """Read and check the journal; cut off and record an unfinished last line."""
        entries, tail = read_journal(folder)
        known = read_checkpoint(folder)
        if known is not None and known.lines != digest_of_lines(folder, known.state.seq):
            known = None
        state, checkpoint = _fold_all(entries, known.state if known is not None else None)
        journal = cls(folder, disk, host, state, tail, entries, checkpoint)
        if tail.segment is not None:
            # A killed process may have written lines without syncing them. Sync them before anything depends on them.
            disk.sync(tail.segment)
            disk.sync_folder(folder)
        if tail.torn and tail.segment is not None:
            disk.cut(tail.segment, tail.length)
            journal.append(Torn(bytes=tail.torn))
        return journal

    @property
    def state(self) -> SiteState:
        if self._state is None:
            raise empty_journal()
        return self._state

    def append(self, event: Event) -> Entry:
        """Write one entry, durably. Report its content only after this returns.

        Raises:
            OSError: It could not be written; the journal is unchanged.
        """
        tail = self._tail
        record = Record(
            seq=tail.seq + 1,
            prev=tail.digest,
            at=self._host.stamp(),
            boot=self._host.boot,
            uptime=max(0, int(self._host.monotonic())),
            actor=self._host.actor,
            event=event,
        )
        line = encode(record)
        if len(line) > MAX_LINE:
            raise ValueError(f"journal entry of {len(line)} bytes")
        # A line that cannot be read back, or that the fold refuses, must not reach the disk.
        try:
            _record(line, record.seq, tail.digest)
        except WaybillError as error:
            raise ValueError(f"not a journal entry: {error}") from error
        entry = Entry(record, digest_of(line))
        state = apply(self._state, record, entry.digest)
        segment, length = tail.segment, tail.length
        if segment is None or length + len(line) > SEGMENT:
            segment, length = self._folder / _name(record.seq), 0
        self._write(segment, length, line + b"\n")
        self._tail = Tail(segment=segment, length=length + len(line) + 1, torn=0, seq=record.seq, digest=entry.digest)
        self._state = state
        return entry

    def _write(self, segment: Path, length: int, line: bytes) -> None:
        """Write a line, durably. After a failure the segment is unchanged, or this object takes no further entry."""
        if self._stuck:
            raise OSError(errno.EIO, "an earlier entry may be half written", str(segment))
        try:
            if length == 0 and not segment.exists():
                self._disk.write_new(segment, line)
                self._disk.sync_folder(self._folder)
            else:
                self._disk.append(segment, line)
        except BaseException:
            self._stuck = True
            if length == 0:
                self._disk.remove(segment)
            size = segment.stat().st_size if segment.exists() else 0
            self._stuck = size != length
            raise


def _fold_all(entries: tuple[Entry, ...], known: SiteState | None) -> tuple[SiteState | None, bool]:
    """Return the state after all entries, and whether ``known`` is what a checkpoint should now hold."""
    state, true = None, False
    for entry in entries:
        state = apply(state, entry.record, entry.digest)
        if known is not None and known.seq == entry.record.seq:
            true = known == state
    behind = len(entries) - known.seq if true and known is not None else len(entries)
    return state, behind < EVERY


def one_line(text: str) -> str:
    """Return the text as one line that fits into a journal entry, without control characters."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return plain if len(plain) <= 1000 else plain[:997] + "..."
