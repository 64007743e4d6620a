"""Looks at who may read the site's keys and secrets, and who may change what the site believes."""

import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from verifier.runtime.preflight.result import Observation, unseen

# Below these nobody else than the owner reads anything.
CLOSED = ("keys",)
# The folder is closed, so that the modes of files in it matter less; those that site.yaml names are checked closely.
CLOSED_FOLDERS = ("keys", "secrets", "backups")
# Whoever can write these decides what the site believes or proposes.
GUARDED = ("site.yaml", "policy.yaml", "people", "tls", "trust", "journal", "heads", "generations")


def look_at_modes(site: Path, secrets: tuple[Path, ...] = ()) -> Observation:
    """Return whether only the site's account reads keys and the named ``secrets``, and nobody else writes the rest."""
    try:
        problems = list(_problems(site, secrets))
    except OSError as error:
        why = f"{error.filename}: {(error.strerror or str(error)).lower()}"
        return unseen(why, "run this command as the account of the site")
    if not problems:
        return Observation(met=True, text="only the site's account reads keys and secrets; others write nothing")
    text = "; ".join(text for text, _ in problems[:3]) + (
        f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
    )
    return Observation(met=False, text=text, remedy=f"run `{'; '.join(command for _, command in problems[:3])}`")


def _problems(site: Path, secrets: tuple[Path, ...]) -> Iterator[tuple[str, str]]:
    owner = site.stat().st_uid
    closed = [site / name for name in CLOSED_FOLDERS]
    closed += [path for name in CLOSED for path in _files(site / name)]
    for path in (*closed, *secrets):
        if path.exists() and (mode := _mode(path)) & 0o077:
            yield f"{path} has mode {mode:04o}: others can read it", f"chmod go= {shlex.quote(str(path))}"
    for path in _files(site / "keys"):
        if path.stat().st_uid not in (0, owner):
            yield f"{path} belongs to another account than the site", f"chown {owner} {shlex.quote(str(path))}"
    for path in (site, *(below for name in GUARDED for below in (site / name, *_files(site / name)))):
        if path.exists() and (mode := _mode(path)) & stat.S_IWOTH:
            yield f"{path} has mode {mode:04o}: everybody can change it", f"chmod o-w {shlex.quote(str(path))}"


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _files(folder: Path) -> Iterator[Path]:
    """Yield everything in a folder, one level deep, links left out; nothing for a file."""
    if folder.is_dir():
        with os.scandir(folder) as entries:
            yield from sorted(Path(entry.path) for entry in entries if not entry.is_symlink())
