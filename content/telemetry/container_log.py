"""Decode the log files that container runtimes write: lines of Docker's json-file driver, and lines of CRI.

Docker: ``{"log":"text\\n","stream":"stdout","time":"…"}``; a long message comes in pieces, the last one with a line
break. CRI (Kubernetes, "CRI logging"): ``TIME STREAM TAG text``; the tag is ``P`` for a piece and ``F`` for the last.
"""

import re

import msgspec

from content.telemetry.logs import MAX_LINE

# A longer line of the file is skipped: Docker's pieces have 16 KiB, escaped at most six times as much.
MAX_RAW = 1 << 20
# Messages that wait for an unfinished one of the other stream; then that one is given up.
MAX_HELD = 4 << 20
_CRI = re.compile(rb"[0-9][0-9T:.+Z-]{9,40} (stdout|stderr) ([PF])(?::[A-Za-z0-9:]*)? ?")


class _DockerLine(msgspec.Struct):
    log: str
    stream: str = ""


class ContainerLog:
    """Turns bytes of the file, in order, into the bytes of the messages: whole messages only, each with a line break.

    Messages are given out at places where no message is unfinished, of neither stream: what was given out and
    ``consumed`` agree, so that reading on from there repeats nothing.

    Attributes:
        consumed: Bytes of the file up to a place where no message is unfinished.
        malformed: Lines that are of neither form, or too long.
    """

    def __init__(self) -> None:
        self.consumed = 0
        self.malformed = 0
        self._fed = 0
        self._rest = b""
        self._skipping = False
        self._pieces: dict[str, bytearray] = {}
        self._held = bytearray()
        self._decoder = msgspec.json.Decoder(_DockerLine)

    def feed(self, data: bytes) -> bytes:
        """Return the messages that the next bytes of the file complete."""
        data = self._rest + data
        messages = bytearray()
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            if self._skipping:
                self._skipping = False
            else:
                self._held += self._line(data[start:end])
            self._fed += end + 1 - start
            start = end + 1
            if len(self._held) > MAX_HELD:
                self.malformed += len(self._pieces)
                self._pieces.clear()
            if not self._pieces:
                self.consumed = self._fed
                messages += self._held
                self._held.clear()
        self._rest = data[start:]
        if len(self._rest) > MAX_RAW:
            self.malformed += not self._skipping
            self._fed += len(self._rest)
            self._rest, self._skipping = b"", True
        return bytes(messages)

    def give_up(self) -> bytes:
        """Leave out the message that is unfinished, longer than what is read at once; return what waited for it."""
        self.malformed += 1
        self.consumed = self._fed + len(self._rest)
        held, self._held = bytes(self._held), bytearray()
        return held

    def _line(self, line: bytes) -> bytes:
        if line.startswith(b"{"):
            try:
                docker = self._decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                self.malformed += 1
                return b""
            text = docker.log.encode("utf-8", "replace")
            return self._piece(docker.stream, text.removesuffix(b"\n"), last=text.endswith(b"\n"))
        match = _CRI.match(line)
        if match is None:
            self.malformed += bool(line.strip())
            return b""
        return self._piece(match[1].decode(), line[match.end() :], last=match[2] == b"F")

    def _piece(self, stream: str, text: bytes, *, last: bool) -> bytes:
        """Return the whole message with its last piece; of a message too long, more than a line may have."""
        pieces = self._pieces.setdefault("err" if stream == "stderr" else "out", bytearray())
        pieces += text[: max(0, MAX_LINE + 1 - len(pieces))]
        if not last:
            return b""
        del self._pieces["err" if stream == "stderr" else "out"]
        return bytes(pieces) + b"\n"
