"""The journal: append-only lines of canonical JSON, each naming the digest of the line before, in closed segments.

A power failure leaves an unfinished last line, cut short or with zeros in it. No command has reported it as done, so it
is cut off and recorded. Any other defect is an error and is never repaired automatically.
"""

import errno
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from manifests.trust.keys import read_capped
from manifests.words.canonical import LineReader, decode, encode, parse
from manifests.words.digest import digest_of
from manifests.words.errors import MalformedError, NewerError, UntrustedError, WaybillError, unreadable
from verifier.site.disk import Disk
from verifier.site.host import Host
from verifier.site.journal.checkpoint import EVERY, read_checkpoint
from verifier.site.journal.events import Event, Record, Torn
from verifier.site.journal.fold import apply, empty_journal
from verifier.site.journal.state import SiteState

MAX_LINE = 64 << 10
SEGMENT = 1 << 20
MAX_SEGMENT = SEGMENT + MAX_LINE
BROKEN = "journal-broken"
_READER = LineReader(Record, max_bytes=MAX_LINE)


class _Link(Struct, frozen=True):
    """The fields that a line of any version of the journal has."""

    prev: Annotated[str, Meta(max_length=71)]
    seq: int


class Entry(Struct, frozen=True):
    """A record, and the digest of its line. A line before a checkpoint is decoded when its record is asked for."""

    digest: str
    content: Record | bytes

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


def read_journal_from(folder: Path, known: SiteState) -> tuple[tuple[Entry, ...], Tail] | None:
    """Read the journal like `read_journal`, but do not decode the lines up to the entry that ``known`` names.

    The digests of all lines are still computed, and each must follow the one before. So the digest of that entry stands
    for every byte before it.

    Returns:
        None when the journal has no such entry.
    """
    entries: list[Entry] = []
    tail = _walk(folder, entries, known.seq)
    if not 1 <= known.seq <= len(entries) or entries[known.seq - 1].digest != known.head:
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


def _walk(folder: Path, entries: list[Entry], encoded: int = 0) -> Tail:
    """Add the entries of an intact chain to ``entries``, up to the first of an unknown kind.

    Args:
        encoded: So many entries, from the first on, are not decoded; their chain is checked all the same.
    """
    newer: NewerError | None = None
    tail, seq, digest = EMPTY, 0, EMPTY.digest
    for segment in segments(folder):
        if tail.torn:
            raise _broken(seq + 1, f"an unfinished line inside {tail.segment and tail.segment.name}")
        if segment.name != _name(seq + 1):
            raise _broken(seq + 1, f"the next segment is {segment.name}")
        data = read_capped(segment, MAX_SEGMENT)
        end = _finished(data)
        for line in data[:end].split(b"\n")[:-1]:
            seq += 1
            try:
                content = line if seq <= encoded and _is_link(line, seq, digest) else _record(line, seq, digest)
                digest = digest_of(line)
                if newer is None:
                    entries.append(Entry(digest, content))
            except NewerError as error:
                # An edited line can look like this too. Then the next line does not follow it, and the chain is broken.
                newer, digest = newer or error, digest_of(line)
        tail = Tail(segment=segment, length=end, torn=len(data) - end, seq=seq, digest=digest)
    if newer is not None:
        raise newer
    return tail


def segments(folder: Path) -> list[Path]:
    """Return the segment files, oldest first; each is named by the number of its first entry."""
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".jsonl")
    except OSError as error:
        remedy = "check the owner and the mode of the folder"
        raise unreadable(error, str(folder), remedy=remedy, finding="journal-unreadable") from None


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


def _is_link(line: bytes, seq: int, prev: str) -> bool:
    """Whether a line is entry ``seq`` and names ``prev``, by the last of its fields, which are sorted."""
    return line.startswith(b',"prev":"%s","seq":%d,"uptime":' % (prev.encode(), seq), line.rfind(b',"prev":"'))


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
        state, checkpoint = _fold_all(entries, read_checkpoint(folder))
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
        entry = Entry(digest_of(line), record)
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
