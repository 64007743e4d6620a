"""Handlers of a release, as real programs in the real sandbox: whatever they do, only the contract's words leave.

Each of the odd ones ends, none of its processes is left, and what it printed is in no file of the site.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manifests.documents.telemetry import parse_handler_result
from manifests.words.errors import RefusedError, WaitingError
from tests.handling import ACTS, USER, consign, handler, handling, handling_place, request, run
from tests.place import Place
from verifier.runtime.program_files import SCRATCH, find_account
from verifier.runtime.sandbox import PREFIX, check_sandbox
from verifier.site.journal.events import HandlerEnded

ALLOWED: dict[str, Any] = {f"act_{act}": "allowed" for act in ACTS}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    try:
        check_sandbox(find_account(USER, ours=os.geteuid()))
    except RefusedError as error:
        pytest.skip(f"needs {error.finding}")
    open_folders(tmp_path)
    place = handling_place(tmp_path, queue_depth="allowed", once="{operator: 1}", **ALLOWED)
    open_folders(place.path)
    return place


def open_folders(path: Path) -> None:
    """Let the account of the programs pass through."""
    for folder in (path, *path.parents):
        if folder != Path("/") and os.access(folder, os.W_OK):
            folder.chmod(folder.stat().st_mode | 0o011)


def processes() -> list[int]:
    """What still runs as the account of the programs; of an account of this process alone."""
    return [int(entry.name) for entry in _of_user() if os.geteuid() != USER]


def _of_user() -> Iterator[Path]:
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and entry.stat().st_uid == USER:
                yield entry
        except OSError:
            continue


def ended(place: Place) -> HandlerEnded:
    return [event for entry in place.open().entries if isinstance(event := entry.record.event, HandlerEnded)][-1]


def test_the_values_of_the_signal_leave(place: Place, tmp_path: Path) -> None:
    consign(place, tmp_path, request("queue-depth", parameters={"queue": "intake"}))
    result = run(place, "c-1")
    assert (result.outcome, result.values, result.leaves) == ("ran", {"jobs": 7, "queue": "intake"}, "queue_depth")
    (file,) = (place.path / "telemetry" / "results").iterdir()
    stated = parse_handler_result(file.read_bytes())
    assert (stated.signal, stated.values) == ("queue_depth", {"jobs": 7, "queue": "intake"})
    running = place.open().state.installs.running
    assert running is not None
    assert stated.release == running.release


@pytest.mark.parametrize(
    ("act", "outcome", "reason"),
    [
        ("text", "failed", "output-misfit"),
        ("extra", "failed", "output-misfit"),
        ("less", "failed", "output-misfit"),
        ("nested", "failed", "output-misfit"),
        ("nothing", "failed", "output-misfit"),
        ("fails", "failed", "exit-code"),
        ("flood", "failed", "output-too-long"),
        ("never", "timed-out", None),
        ("deaf", "timed-out", None),
        ("forks", "failed", "exit-code"),
    ],
)
def test_what_is_not_the_signal_stays(place: Place, act: str, outcome: str, reason: str | None) -> None:
    begun = time.monotonic()
    result = run(place, f"act-{act}")
    assert (result.outcome, result.reason, result.values, result.leaves) == (outcome, reason, {}, None)
    assert result.error is not None
    assert time.monotonic() - begun < 30
    assert processes() == []
    assert not (place.path / "telemetry" / "results").exists()
    event = ended(place)
    assert (event.result, event.signal) == (None, None)
    # Of a flood nothing is taken, not even its first piece.
    assert (event.withheld is None) == (act in ("nothing", "never", "deaf", "forks", "flood"))
    assert event.exit_code == {"fails": 3, "forks": 2}.get(act, 0 if reason == "output-misfit" else None)


def test_a_value_out_of_bounds_withholds_all_of_them(place: Place) -> None:
    result = run(place, "queue-depth", queue="archive")
    assert (result.outcome, result.reason) == ("failed", "output-misfit")
    assert ended(place).withheld is not None


def test_a_daemon_does_not_outlive_its_handler(place: Place) -> None:
    run(place, "act-daemon")
    assert processes() == []


@pytest.mark.parametrize("act", ["text", "extra", "fails"])
def test_no_byte_of_the_output_is_kept(place: Place, tmp_path: Path, act: str) -> None:
    consign(place, tmp_path, request(f"act-{act}"))
    result = run(place, "c-1")
    # The operator sees what the program says for people.
    assert ("stderr: hunter3" in result.lines) == (act == "text")
    for path in place.path.rglob("*"):
        # The program itself, in the store and in the generation, has the words.
        if path.is_file() and "store" not in path.parts and "programs" not in path.parts:
            assert b"hunter" not in path.read_bytes(), path


# To each folder: a file in it, a folder in it, a link in it, other rights; each file: replaced, appended to, other
# rights, moved, removed. `jobs` says how much of it succeeded.
VANDAL = """\
#!/bin/sh
n=0
try() { if "$@" >/dev/null 2>&1; then n=$((n+1)); echo "done: $*" >&2; fi; }
for f in FOLDERS; do
  try sh -c 'echo x > "$1/handler-was-here"' - "$f"
  try mkdir "$f/handler-made-this"
  try ln -s /etc/passwd "$f/handler-link"
  try chmod 777 "$f"
done
for f in FILES; do
  try sh -c 'echo x > "$1"' - "$f"
  try sh -c 'echo x >> "$1"' - "$f"
  try chmod 666 "$f"
  try mv "$f" "$f.moved"
  try rm -f "$f"
done
try sh -c 'echo x > "$HOME/mine"'
printf '{"jobs": %s, "queue": "intake"}\\n' "$n"
"""


def seen(*roots: Path) -> dict[str, tuple[object, ...]]:
    """Every path below, with owner, rights, size, time and place of what is there."""
    return {
        str(path): (status.st_uid, status.st_mode, status.st_ino, status.st_size, status.st_mtime_ns)
        for root in roots
        for path in (root, *root.rglob("*"))
        for status in (path.lstat(),)
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: else the account of the programs owns the site")
def test_a_handler_that_writes_outside_of_its_folder_changes_nothing(tmp_path: Path) -> None:
    site, elsewhere = tmp_path / "site", Path(tempfile.mkdtemp(prefix=PREFIX, dir=SCRATCH))
    anyone = [Path(tempfile.mkdtemp(dir=folder)) for folder in (SCRATCH, Path("/var/tmp"), Path("/dev/shm"))]
    try:
        (elsewhere / "config.json").write_text("{}")
        for folder in anyone:
            folder.chmod(0o777)
        folders = [*map(Path, ("/", "/etc", "/usr/bin", "/root", "/dev")), elsewhere, site, *anyone]
        folders += [site / name for name in ("store", "journal", "generations", "outbox", "heads", "srv", "run")]
        files = [Path("/etc/passwd"), elsewhere / "config.json", site / "site.yaml", site / "policy.yaml"]
        files += [site / "keys" / "site.key", site / "generations" / "1" / "release.json", site / "current"]
        tool = VANDAL.replace("FOLDERS", " ".join(map(str, folders))).replace("FILES", " ".join(map(str, files)))
        open_folders(tmp_path)
        vandal = handler("queue-depth", "x", returns="queue_depth")
        place = handling_place(tmp_path, handling(tool=tool.encode(), handlers=(vandal,)), queue_depth="allowed")
        open_folders(place.path)
        assert place.path == site
        assert [path for path in (*folders, *files) if not path.exists()] in ([], [site / "run"])
        run(place, "queue-depth")
        # What the verifier itself writes meanwhile is its journal, lock, reports and results.
        own = ("store", "generations", "heads", "srv", "keys", "current", "site.yaml", "policy.yaml")
        watched = (*(site / name for name in own), elsewhere, Path("/etc"), *anyone)
        before, root = seen(*watched), sorted(Path("/").iterdir())
        result = run(place, "queue-depth")
        # The one that succeeds is a file in a folder of its own, which is gone by now.
        assert result.values == {"jobs": 1, "queue": "intake"}, result.lines
        assert (seen(*watched), sorted(Path("/").iterdir())) == (before, root)
        assert list(site.rglob("handler-*")) == []
    finally:
        for folder in (elsewhere, *anyone):
            shutil.rmtree(folder)


def test_a_handler_that_is_not_in_the_release_any_more(place: Place, tmp_path: Path) -> None:
    consign(place, tmp_path, request("queue-depth", parameters={"queue": "intake"}))
    vendor = handling("1.1.0", 2, handlers=())
    item = place.receive(vendor.write(tmp_path / "2.tar")).item
    for person in ("ops-1", "sec-1", "dpo-1"):
        place.approve(item, person)
    assert place.install(item).error is None
    with pytest.raises(RefusedError) as error:
        run(place, "c-1")
    assert error.value.finding == "no-such-handler"


def test_one_that_changes_data_needs_its_approval(place: Place) -> None:
    with pytest.raises(WaitingError):
        run(place, "once")
    assert run(place, "h-1", "ops-1").outcome == "ran"


def test_without_an_account_for_programs_nothing_begins(place: Place, tmp_path: Path) -> None:
    bare = handling_place(tmp_path / "bare", queue_depth="allowed", user="")
    with pytest.raises(RefusedError) as error:
        run(bare, "queue-depth", queue="intake")
    assert error.value.finding == "sandbox-account"
    assert all(not isinstance(entry.record.event, HandlerEnded) for entry in bare.open().entries)
