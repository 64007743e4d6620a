"""Sign with a program, started without a shell: it reads the message on stdin and writes the signature to stdout.

``exec:PROGRAM?public=FILE.pub&arg=WORD&arg=WORD``. The answer is verified before it is used, so a faulty program can
only fail to sign. Whoever can change the program can sign with its key, so it must be writable by its owner alone.
"""

import os
import select
import stat
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import IO

from content.signing.uri import KeyUri, checked_signature, unescape
from manifests.trust.keys import PublicKey, read_public
from manifests.words.errors import HostError, RefusedError, UsageError

SECONDS = 120
MAX_ANSWER = 4096
MAX_ARGUMENTS = 64


@dataclass(frozen=True)
class ExecSigner:
    """Signs by running ``program`` once per message, for at most ``seconds``: a person may have to touch a token."""

    program: Path
    arguments: tuple[str, ...]
    key: PublicKey
    seconds: float = SECONDS

    @property
    def public(self) -> PublicKey:
        return self.key

    def sign(self, message: bytes) -> bytes:
        """Raises HostError when the program cannot run, fails or takes too long, RefusedError for a wrong answer."""
        return checked_signature(self._run(message), message, self.key, str(self.program))

    def _run(self, message: bytes) -> bytes:
        """The answer, at most `MAX_ANSWER` bytes. Raises HostError when the program fails or takes too long."""
        check_program(self.program)
        try:
            process = subprocess.Popen([self.program, *self.arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        except OSError as error:
            problem = (error.strerror or str(error)).lower()
            raise HostError(f"cannot run: {problem}", where=str(self.program), finding="signer-failed") from None
        assert process.stdin is not None
        assert process.stdout is not None
        # Written beside the reading: a program may answer before it has read everything, or not read at all. The
        # thread closes its end itself; what the program left running could hold the other one for ever.
        threading.Thread(target=_feed, args=(process.stdin, message), daemon=True).start()
        deadline = time.monotonic() + self.seconds
        code = 0
        try:
            with process.stdout as stdout:
                answer = _read(stdout, deadline)
            if answer is not None and len(answer) <= MAX_ANSWER:
                code = process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            answer = None
        finally:
            process.kill()
            process.wait()
        if answer is None:
            problem = f"did not answer within {self.seconds:g}s"
        elif len(answer) > MAX_ANSWER:
            problem = f"answered with more than {MAX_ANSWER} bytes"
        elif code:
            problem = f"ended with {code}"
        else:
            return answer
        raise HostError(
            f"the signing program {problem}",
            where=str(self.program),
            remedy=f"run {quote(str(self.program))} by hand with a file on its stdin, and read its stderr",
            finding="signer-failed",
        )


def open_program(uri: KeyUri, beside: Path) -> ExecSigner:
    """Raises UsageError for a URI without program or public half, RefusedError when others can change the program."""
    path = unescape(uri.path, uri.text).decode()
    public = uri.value("public")
    unknown = sorted({name for name, _ in uri.query} - {"public", "arg"})
    arguments = tuple(unescape(value, uri.text).decode() for name, value in uri.query if name == "arg")
    if not path or not public or unknown or len(arguments) > MAX_ARGUMENTS:
        what = f"does not know {unknown[0]}" if unknown else "needs a program and public="
        remedy = "write exec:PROGRAM?public=FILE.pub&arg=WORD, with one arg= for each argument of the program"
        raise UsageError(f"a key of kind exec {what}", where=uri.text, remedy=remedy)
    program = (beside / path).absolute()
    check_program(program)
    return ExecSigner(program=program, arguments=arguments, key=read_public(beside / public))


def check_program(path: Path) -> None:
    """Raises HostError unless this is a program, RefusedError when more people than its owner can change it."""
    try:
        status = path.stat()
    except OSError as error:
        raise HostError(f"cannot read: {(error.strerror or str(error)).lower()}", where=str(path)) from None
    if not stat.S_ISREG(status.st_mode) or not os.access(path, os.X_OK):
        raise HostError("not an executable file", where=str(path), finding="signer-failed")
    if stat.S_IMODE(status.st_mode) & 0o022:
        problem = f"other users can change this program (mode {stat.S_IMODE(status.st_mode):04o})"
        remedy = f"read what it does, then chmod go-w {quote(str(path))}"
        raise RefusedError(problem, where=str(path), remedy=remedy, finding="key-exposed")


def _feed(stdin: IO[bytes], message: bytes) -> None:
    with suppress(OSError), stdin:  # the program may end before it has read everything
        stdin.write(message)


def _read(stdout: IO[bytes], deadline: float) -> bytes | None:
    """The answer, and at most one byte more than is allowed; None when the program has not ended in time."""
    parts: list[bytes] = []
    while sum(map(len, parts)) <= MAX_ANSWER:
        ready, _, _ = select.select([stdout], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return None
        part = os.read(stdout.fileno(), MAX_ANSWER + 1)
        if not part:
            break
        parts.append(part)
    return b"".join(parts)
