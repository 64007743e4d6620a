"""What a dry run says, held against the site before it and against what then happens when it is done in earnest.

The world is read with the standard library: links, folders, digests by hashlib, the raw lines of the journal.
"""

import json
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from tests.claims import generation_that_runs, sha256
from tests.claims_journal import Line, lines_of, tagged
from tests.place import Place
from tests.typed import Typed, typed

PARTS = ("backup", "try", "migrate", "undo", "restore")
STARTS = {
    "back up ": "backup",
    "try to restore ": "try",
    "migrate, step ": "migrate",
    "undo step ": "undo",
    "restore ": "restore",
    "switch to ": "switch",
    "probe ": "probe",
}
UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
WRITTEN = ("store", "generations", "backups", "srv")


@dataclass(frozen=True)
class Dry:
    """A dry run that was typed. Attributes: lines: of the journal then; written: bytes and files that there were."""

    typed: Typed
    lines: int
    written: tuple[int, int]

    @property
    def text(self) -> str:
        return self.typed.out


def picture(site: Path) -> dict[str, tuple[int, bytes]]:
    """Everything in the folder but the lock file: mode, and content or target."""
    found = {}
    for path in sorted(site.rglob("*")):
        mode = path.lstat().st_mode
        link = str(path.readlink()).encode() if path.is_symlink() else b""
        content = path.read_bytes() if stat.S_ISREG(mode) else link
        found[str(path.relative_to(site))] = (mode, content)
    found.pop("lock", None)
    return found


def written(site: Path) -> tuple[int, int]:
    paths = [path for name in WRITTEN for path in (site / name).rglob("*")]
    return sum(path.lstat().st_size for path in paths if path.is_file() and not path.is_symlink()), len(paths)


def dry_run(place: Place, *words: object) -> Dry:
    """Type a dry run; check that it changes nothing, and what it says of the site as it is."""
    before = picture(place.path)
    done = typed(place, *words, "--dry-run")
    assert picture(place.path) == before, "a dry run changes nothing"
    runs = generation_that_runs(place.path)
    if not done.finding or done.out.strip():
        release = release_of(place.path, runs)
        expected = f"still runs: generation {runs}, {release['product']} {release['version']}" if runs else ""
        assert (expected or "nothing is installed yet") in done.out.splitlines(), done.out
    return Dry(done, len(lines_of(place.path)), written(place.path))


def release_of(site: Path, generation: int) -> Mapping[str, Any]:
    if not generation:
        return {}
    release: Mapping[str, Any] = json.loads((site / "generations" / str(generation) / "release.json").read_bytes())
    return release


def lacking(site: Path, release: Mapping[str, Any]) -> int:
    """How many members of a release the store does not hold as they were delivered."""
    blobs = site / "store" / "blobs" / "sha256"
    digests = {member["digest"] for member in release["members"]}
    paths = {digest: blobs / digest.removeprefix("sha256:") for digest in digests}
    return sum(not path.is_file() or sha256(path.read_bytes()) != digest for digest, path in paths.items())


def check_dry_install(place: Place, dry: Dry, lacked: int, failure: Exception | None, *, well: bool) -> None:
    """Check a dry run of an install against the install that was tried after it.

    Args:
        lacked: How many members of the release the store did not hold before.
        failure: Why the install was refused before it began; None when it began.
        well: Whether it ended as it should.
    """
    fits = re.findall(r"(?m)^would fit: generation (\d+), (\S+) (\S+)$", dry.text)
    assert len(fits) == (dry.typed.code == 0)
    assert (failure is None) == (dry.typed.code == 0), (dry, failure)
    if failure is not None:
        # Of several reasons the worst is the error, the others are named below it.
        assert str(failure) in f"{dry.typed.finding}\n{dry.text}", (dry, failure)
        assert getattr(failure, "exit_code", 0) == dry.typed.code
        return
    made = lines_of(place.path)[dry.lines :]
    planned = tagged(made, "planned")[0].event
    assert [(int(number), version) for number, _, version in fits] == [(planned["target"], planned["version"])]
    ((blobs, size, files),) = re.findall(r"(?m)^new blobs: (\d+); .*at most (.*) and (\d+) files?$", dry.text)
    assert int(blobs) == lacked
    now = written(place.path)
    assert now[0] - dry.written[0] <= bytes_of(size)
    assert now[1] - dry.written[1] <= int(files)
    steps = re.findall(r"(?m)^migration (\S+): ", dry.text)
    done = [step for act, step in begun(made) if act == "migrate"]
    assert done == (steps if well else steps[: len(done)])
    backups = re.findall(r"(?m)^backup (\S+): ", dry.text)
    saved = [step for act, step in begun(made) if act == "backup"]
    assert saved == (backups if well else backups[: len(saved)])


def check_return(site: Path, dry: Dry) -> None:
    """Check what a dry run of an install, just typed, says of the generation that could be returned to."""
    runs = generation_that_runs(site)
    said = re.findall(r"(?m)^until it is confirmed: (.*)$", dry.text)
    if not runs or not re.search(r"(?m)^new blobs: ", dry.text):
        assert not said
        return
    release = release_of(site, runs)
    count = len({member["digest"] for member in release["members"]})
    words = f"generation {runs} ({release['version']}) can be returned to, its {count} blobs are intact"
    assert said == [words], (said, words)
    assert lacking(site, release) == 0


def check_dry_rollback(place: Place, dry: Dry, failure: Exception | None, *, well: bool) -> None:
    """Check a dry run of a rollback against the rollback that a person then agreed to."""
    possible = dry.typed.code in (0, 9)  # who must agree has not done so yet
    assert (failure is None) == possible, (dry, failure)
    if failure is not None:
        assert str(failure) in dry.typed.finding, (dry, failure)
        return
    block = re.findall(r"(?m)^what would be done\n((?:  .*\n)+)", dry.text)
    assert len(block) == 1
    lines = [line.strip() for line in block[0].splitlines()]
    made = lines_of(place.path)[dry.lines :]
    target = tagged(made, "planned")[0].event["target"]
    assert lines.count(f"switch to generation {target}") == 1
    said = [act for act in map(act_of, lines) if act[0] != "step"]
    did = [act for act in begun(made) if act[0] in (*PARTS, "switch", "probe")]
    assert did == (said if well else said[: len(did)]), (lines, did)
    if well:
        _check_order(lines, made)
        _check_cleared(place.path, lines, made)


def act_of(line: str) -> tuple[str, str]:
    """What a line of *what would be done* is about: an act and its part, or a step of the release."""
    for start, act in STARTS.items():
        if line.startswith(start):
            return act, "" if act == "switch" else re.split("[: ]", line.removeprefix(start))[0]
    return ("step", "clear" if line.startswith("once it is confirmed, ") else line.partition(":")[0])


def begun(lines: Sequence[Line]) -> list[tuple[str, str]]:
    intents = [(line.event["act"], line.event.get("step") or "") for line in tagged(lines, "intent")]
    return [(act, step) for act, step in intents if step or act == "switch"]


def _check_order(lines: Sequence[str], made: Sequence[Line]) -> None:
    """Check that the lines of steps after the switch follow each other as the steps were begun."""
    acts = [act_of(line) for line in lines if not line.startswith("once it is confirmed, ")]
    after = acts[acts.index(("switch", "")) :]
    steps = [name for name, _ in groupby(step for act, step in after if act == "step")]
    did = begun(made)
    run = iter([step for act, step in did[did.index(("switch", "")) :] if act in ("activate", "deactivate")])
    assert all(step in run for step in steps), (steps, did)


def _check_cleared(site: Path, lines: Sequence[str], made: Sequence[Line]) -> None:
    """Check that exactly the generations are gone that were named, once the change is confirmed."""
    named = {int(number) for line in lines for number in re.findall(r"clear away generation (\d+) ", line)}
    if tagged(made, "confirmed"):
        assert not [number for number in named if (site / "generations" / str(number)).exists()]


def bytes_of(text: str) -> float:
    """The most that a size can be which is printed as ``text``."""
    number, unit = text.split()
    return (float(number) + (0.05 if "." in number else 0)) * UNITS[unit]
