"""Read the messages of one unit from the journal of systemd, through ``journalctl``.

No shell, a fixed program and fixed arguments, and no environment but the path. The cursor of the last entry is kept;
the next run begins at that entry, so that a cursor which the journal no longer has is seen.
"""

import os
import selectors
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from content.telemetry.counted import GAP, MALFORMED, MISSING, UNREADABLE
from verifier.collecting.look import Look
from verifier.collecting.opened_files import CHUNK, SourceError

PROGRAMS = (Path("/usr/bin/journalctl"), Path("/bin/journalctl"))
# Of one entry; a longer one is counted as malformed.
MAX_ENTRY = 1 << 20
_STEP = 0.5
_UNIT_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:-_.\\@")


class _Entry(msgspec.Struct):
    cursor: str = msgspec.field(name="__CURSOR")
    # A text; as numbers where it is not UTF-8; null where it is very long; a list where the entry has several.
    message: str | list[int | str | list[int]] | None = msgspec.field(name="MESSAGE", default=None)


def read_journal(unit: str, before: str | None, since: int | None, look: Look) -> tuple[str | None, int | None]:
    """Feed the messages after the entry ``before``; return the cursor of the last entry.

    Args:
        before: None for the first look, which reads nothing and begins at the newest entry.
        since: Unix time of the first look, where the journal had no entry then. Also returned until it has one.

    Raises:
        SourceError: There is no ``journalctl``, or it failed; nothing is counted.
    """
    program = next((path for path in PROGRAMS if os.access(path, os.X_OK)), None)
    if program is None:
        raise SourceError(MISSING, f"there is no {PROGRAMS[0]}")
    if not unit or unit.startswith("-") or not _UNIT_LETTERS.issuperset(unit):
        raise SourceError(UNREADABLE, f"{unit!r} is no name of a unit")
    command = [str(program), f"--unit={unit}", "--output=json", "--output-fields=MESSAGE", "--no-pager", "--quiet"]
    if before is None and since is None:
        newest = [entry.cursor for entry in _entries([*command, "--lines=1"], look)]
        look.begin()
        return (newest[-1], None) if newest else (None, int(look.at.timestamp()))
    command.append(f"--cursor={before}" if before is not None else f"--since=@{since}")
    cursor = before
    begun = False
    for entry in _entries(command, look):
        if not begun:
            look.begin()
        if not begun and before is not None:
            begun = True
            if entry.cursor == before:
                continue
            # The entry was removed from the journal, and what followed it may be as well.
            look.collector.drop(GAP)
        begun = True
        cursor = entry.cursor
        look.feed(_message(entry) + b"\n")
    if not begun:
        look.begin()
    look.collector.end()
    return cursor, since if cursor is None else None


def _message(entry: _Entry) -> bytes:
    message = entry.message
    if not isinstance(message, list):
        return (message or "").encode("utf-8", "replace")
    whole = bytes(part & 255 for part in message if isinstance(part, int))
    texts = [part.encode("utf-8", "replace") for part in message if isinstance(part, str)]
    texts += [bytes(byte & 255 for byte in part) for part in message if isinstance(part, list)]
    return b"\n".join([whole, *texts] if whole else texts)


def _entries(command: list[str], look: Look) -> Iterator[_Entry]:
    """Run the program and yield its entries until it ends, or the limits of the look are reached."""
    decoder = msgspec.json.Decoder(_Entry)
    for line in _lines(command, look):
        if len(line) > MAX_ENTRY:
            look.collector.drop(MALFORMED)
            continue
        try:
            yield decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            look.collector.drop(MALFORMED)


def _lines(command: list[str], look: Look) -> Iterator[bytes]:
    """Yield the whole lines that the program prints. Raises SourceError when it fails."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise SourceError(UNREADABLE, f"{command[0]}: {error.strerror}") from None
    rest = b""
    ended = False
    try:
        for chunk in _output(process, look):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from lines
            # Of a line too long, only that it is one is kept.
            rest = rest[: MAX_ENTRY + 1]
            if not look.take(chunk):
                return
        ended = not look.unfinished
    finally:
        if not ended:
            with suppress(ProcessLookupError):
                process.kill()
        if process.stdout is not None:
            process.stdout.close()
        process.wait()
    if ended and process.returncode:
        raise SourceError(UNREADABLE, f"{command[0]} ended with exit code {process.returncode}")


def _output(process: "subprocess.Popen[bytes]", look: Look) -> Iterator[bytes]:
    """Yield what the program prints; stop at the deadline, also if it prints nothing."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if look.monotonic() >= look.deadline:
                look.unfinished = True
                return
            if selector.select(_STEP):
                chunk = os.read(process.stdout.fileno(), CHUNK)
                if not chunk:
                    return
                yield chunk
