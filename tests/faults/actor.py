"""Acts in processes of their own that need not import anything: each is a fork of one that has.

`python -m tests.faults.actor` answers questions on stdin, one JSON object a line: it forks, prints the child's pid,
waits for a line, lets the child go and prints how it ended. Between the two lines a tracer can take hold of the child.
It ends when stdin does.
"""

import contextlib
import ctypes
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from manifests.trust.private_keys import read_signer
from manifests.words.errors import WaybillError
from tests.faults.test_crash import SCENES
from tests.migrating import FakePrograms
from tests.place import Place

ROOT = Path(__file__).parents[2]
DONE, FAILED, NEVER = 0, 3, 4
# prctl(2): any process may trace this one, where the kernel's Yama asks.
PR_SET_PTRACER, ANY = 0x59616D61, ctypes.c_ulong(-1)


@dataclass(frozen=True)
class Act:
    """What is done to which site.

    Attributes:
        site: The site's folder; the key of its approver lies two folders above.
        name: Of a scene, or ``recover``.
        short: The number of a write that the kernel takes only half of; 0 for none.
        health: What probes answer.
    """

    site: Path
    name: str
    short: int = 0
    health: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """Attributes: code: of the process, negative for a signal; said: its stdout and stderr."""

    code: int
    said: str


class Actor:
    """The parent of such processes."""

    def __init__(self, folder: Path) -> None:
        """``folder`` is for what they say."""
        self._said = folder / "said"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.actor"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "Actor":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.communicate()

    def run(self, act: Act, *tracer: str) -> Ended:
        """The act, from its first call on under ``tracer``, a strace without its ``-p``."""
        words = {"site": str(act.site), "name": act.name, "short": act.short, "health": dict(act.health)}
        child = int(self._ask(json.dumps({**words, "said": str(self._said)})))
        with contextlib.ExitStack() as stack:
            if tracer:
                command = [*tracer, "-p", str(child)]
                strace = stack.enter_context(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
                assert strace.stderr is not None
                # It is held from here on: it cannot run between being seized and being stopped.
                attached = strace.stderr.readline()
                assert "attached" in attached, attached
            code = int(self._ask("go"))
        return Ended(code, self._said.read_text(errors="replace"))

    def _ask(self, line: str) -> str:
        asked, answers = self._process.stdin, self._process.stdout
        assert asked is not None
        assert answers is not None
        asked.write(line + "\n")
        asked.flush()
        return answers.readline()


def act(asked: dict[str, Any]) -> int:
    """Do it; a failure of the two kinds that the command line turns into one `error:` line is FAILED."""
    path = Path(asked["site"])
    key = read_signer(path.parents[1] / "ops-1.key", lambda: b"")
    place = Place(path=path, health=asked["health"], people={"ops-1": key}, programs=FakePrograms())
    cut = ShortWrite(asked["short"])
    try:
        with cut:
            place.recover() if asked["name"] == "recover" else SCENES[asked["name"]].act(place)
    except (OSError, WaybillError) as error:
        print(type(error).__name__, error, file=sys.stderr)
        return FAILED
    if asked["short"] and not cut.fired:
        print(cut.writes)
        return NEVER
    return DONE


class ShortWrite:
    """The n-th write of this process asks the kernel for half; one of a single byte cannot be shortened."""

    def __init__(self, number: int) -> None:
        self._number, self._real = number, os.write
        self.writes, self.fired = 0, False

    def __enter__(self) -> None:
        if self._number:
            os.write = self._less

    def __exit__(self, *_: object) -> None:
        os.write = self._real

    def _less(self, descriptor: int, data: Any) -> int:
        self.writes += 1
        if self.writes == self._number and len(data) > 1:
            self.fired = True
            return self._real(descriptor, bytes(data)[: len(data) // 2])
        return self._real(descriptor, data)


def child(asked: dict[str, Any], gate: IO[bytes], modules: Path) -> int:
    """Everything between the fork and the end."""
    ctypes.CDLL(None).prctl(PR_SET_PTRACER, ANY, 0, 0, 0)
    with Path(asked["said"]).open("w") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    gate.read()
    code = act(asked)
    sys.stdout.flush()
    sys.stderr.flush()
    if code == DONE:
        modules.write_text("\n".join(sys.modules))
    return code


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        modules = Path(asked["said"]).with_name("modules")
        gate, go = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(go)
            try:
                code = child(asked, os.fdopen(gate, "rb"), modules)
            except BaseException:
                sys.excepthook(*sys.exc_info())
                sys.stderr.flush()
                os._exit(1)
            os._exit(code)
        os.close(gate)
        print(pid, flush=True)
        sys.stdin.readline()
        os.close(go)
        _, status = os.waitpid(pid, 0)
        # What this child imported is there already for the next one.
        for name in modules.read_text().split() if modules.exists() else ():
            if name not in sys.modules:
                with contextlib.suppress(ImportError):
                    importlib.import_module(name)
        modules.unlink(missing_ok=True)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
