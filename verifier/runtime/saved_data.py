"""The data that programs save and change: their folder, its size, and when a backup of it is a backup of nothing."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from manifests.documents.backup_proof import BackupProof
from manifests.documents.release import InstallStep, Release
from manifests.words.units import show_size

# A backup with fewer bytes than this part of its folder is a backup of nothing. No good compressed dump is that small.
SMALLEST_PART = 256
# A sparse file has fewer blocks than its length says (stat(2), st_blocks).
BLOCK = 512
DATA = "data"


@dataclass(frozen=True)
class SavedFolder:
    """The folder that a backup saves, as it was before the program ran.

    Attributes:
        shown: Relative to the site's folder, for messages.
        size: Bytes of all files below, as ``size_of_folder`` counts them.
    """

    shown: str
    size: int

    @property
    def words(self) -> str:
        return f"{self.shown} has {show_size(self.size)}"


def data_name(step: InstallStep) -> str:
    """Return the name of the folder in which the service of the step keeps its data."""
    return step.data or step.step


def data_names(release: Release) -> tuple[str, ...]:
    """Return the names of the folders in which the services of the release keep their data, sorted."""
    return tuple(sorted({data_name(step) for step in release.install if step.keep_running is not None}))


def data_folder(site: Path, release: Release, names: tuple[str, ...]) -> Path:
    """Return what programs get as WAYBILL_DATA: the folder of a service that has the one name of ``names``.

    For several names, or one that no service has, it is the folder above, which has the folders of all services.
    """
    return site / DATA / names[0] if len(names) == 1 and names[0] in data_names(release) else site / DATA


def saved_folder(site: Path, release: Release, name: str) -> SavedFolder:
    """Return the folder that the backup ``name`` saves, measured now."""
    folder = data_folder(site, release, (name,))
    return SavedFolder(str(folder.relative_to(site)), size_of_folder(folder))


def backup_problem(size: int, proof: BackupProof | None, saved: SavedFolder) -> tuple[str, str] | None:
    """Return the finding and the words for a backup of ``size`` bytes that is one of nothing; None for another.

    A count above 0 is believed at any size. A count of 0 is believed only of a program that was given the folder of
    one service: any other may have looked beside it. A digest says that the backup can be read, not what it has.
    """
    rows = None if proof is None else proof.rows
    if not size:
        return "backup-empty", f"wrote nothing; {saved.words}"
    if size * SMALLEST_PART < saved.size and not rows:
        words = f"wrote {show_size(size)}, less than 1/{SMALLEST_PART} of what it saves; {saved.words}"
        return "backup-too-small", words
    if rows == 0 and saved.size and saved.shown == DATA:
        return "backup-zero-rows", f"states 0 rows; {saved.words}"
    return None


def size_of_folder(folder: Path) -> int:
    """Return the bytes of all files below, holes not counted.

    Links are not followed, and what cannot be read counts nothing.
    """
    size = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                status = Path(path, name).lstat()
                size += min(status.st_size, status.st_blocks * BLOCK)
    return size
