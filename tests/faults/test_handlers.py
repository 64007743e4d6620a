"""A handler that may not be repeated is run at most once, whatever the moment at which the verifier is killed."""

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from manifests.documents import release as r
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import RefusedError, UsageError, WaybillError
from tests.handling import TOOL, USER, consign, handler, handling, handling_place, request, run
from tests.place import Place
from tests.unit.verifier.handlers.test_programs import open_folders, processes
from verifier.runtime.program_files import find_account, this_platform
from verifier.runtime.sandbox import check_sandbox
from verifier.site.disk import Disk
from verifier.site.journal.events import HandlerBegan, HandlerEnded

T = TypeVar("T")


class KillingDisk(Disk):
    """Kills its own process before effect ``at``, or right after it."""

    def __init__(self, at: int, *, after: bool) -> None:
        super().__init__()
        self.at = at
        self.after = after

    def _effect(self, kind: str, path: Path, act: Callable[[], T]) -> T:
        self.at -= 1
        if self.at < 0 and not self.after:
            os.kill(os.getpid(), signal.SIGKILL)
        done = super()._effect(kind, path, act)
        if self.at < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return done


class Runs:
    """A named pipe in which a handler counts its runs: outside of its own folder it can write to no file."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        path.chmod(0o666)
        self._pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._text = ""

    def text(self) -> str:
        with contextlib.suppress(BlockingIOError):
            self._text += os.read(self._pipe, 4096).decode()
        return self._text

    def clear(self) -> None:
        self.text()
        self._text = ""


@pytest.fixture
def world(tmp_path: Path) -> tuple[Place, Runs]:
    """A site with a request for a handler that counts its runs in a pipe, and may not be repeated."""
    try:
        check_sandbox(find_account(USER, ours=os.geteuid()), read_only=True)
    except RefusedError as error:
        pytest.skip(f"needs {error.finding}")
    open_folders(tmp_path)
    path = tmp_path / "ran"
    ran = Runs(path)
    tool = TOOL.replace(
        b"act:nothing)",
        b"act:count) echo x >>%s;;\nact:slow) echo x >>%s; exec sleep 60;;\nact:nothing)" % ((str(path).encode(),) * 2),
    )
    program = r.Program(name="tool", files={this_platform(): Blob(digest=digest_of(tool), size=len(tool))})
    limits = r.Limits(seconds=60, memory_bytes=64 << 20, output_bytes=2 << 10)
    handlers = tuple(
        handler(name, "act", name, repeatable=False, risk="changes-data", limits=limits) for name in ("count", "slow")
    )
    vendor = handling(handlers=handlers, extra={"tool": tool}, signals=b"")
    vendor = replace(vendor, change={**vendor.change, "programs": (program,)})
    place = handling_place(tmp_path, vendor, count="allowed", slow="allowed")
    open_folders(place.path)
    return place, ran


def killed(place: Place, disk: Disk, name: str = "c-1") -> bool:
    """Run the item in a process of its own; return whether that was killed."""
    child = os.fork()
    if child == 0:
        code = 3
        try:
            run(replace(place, disk=disk), name)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_every_effect(world: tuple[Place, Runs], tmp_path: Path, after: bool) -> None:
    place, ran = world
    consign(place, tmp_path, request("count"))
    kept = tmp_path / "kept"
    shutil.copytree(place.path, kept, symlinks=True)
    outcomes = set()
    for at in range(200):
        shutil.rmtree(place.path)
        shutil.copytree(kept, place.path, symlinks=True)
        ran.clear()
        was_killed = killed(place, KillingDisk(at, after=after))
        first = ran.text().count("x")
        use = place.open().state.requested("c-1")
        assert use is not None
        began = [one for one in place.open().entries if isinstance(one.record.event, HandlerBegan)]
        # What has run is known to have begun.
        assert first <= len(began) <= 1
        outcomes.add(use.outcome)
        try:
            run(place, "c-1")
        except WaybillError as error:
            assert error.finding in ("answered", "run-unknown")
        assert ran.text().count("x") <= 1
        again = place.open().state.requested("c-1")
        assert again is not None
        if first:
            assert again.outcome == use.outcome
            assert use.outcome in ("unknown", "ran")
        if not was_killed:
            break
    else:
        raise AssertionError("it never came to its end")
    assert outcomes == {"waiting", "unknown", "ran"}


def test_killed_while_it_runs(world: tuple[Place, Runs]) -> None:
    place, ran = world
    child = os.fork()
    if child == 0:
        try:
            run(place, "slow")
        finally:
            os._exit(0)
    deadline = time.monotonic() + 20
    while not ran.text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    use = place.open().state.requested("h-1")
    assert use is not None
    assert use.outcome == "unknown"
    with pytest.raises(RefusedError) as error:
        run(place, "h-1")
    assert error.value.finding == "run-unknown"
    while processes():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert ran.text() == "x\n"
    assert not [one for one in place.open().entries if isinstance(one.record.event, HandlerEnded)]


def test_what_may_be_repeated_is_run_again(tmp_path: Path) -> None:
    place = handling_place(tmp_path, None, "", inventory="allowed")
    consign(place, tmp_path, request("inventory"))
    for at in range(60):
        if not killed(place, KillingDisk(at, after=False)):
            break
        use = place.open().state.requested("c-1")
        if use is not None and use.outcome == "unknown":
            assert run(place, "c-1").outcome == "ran"
            break
    else:
        raise AssertionError("it never began")
    with pytest.raises((RefusedError, UsageError)):
        run(place, "c-1")
