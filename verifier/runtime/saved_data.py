"""The data that programs save and change: their folder, its size, and when a backup of it is a backup of nothing."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from manifests.documents.release import Release
from manifests.words.units import show_size

# A backup with fewer bytes than this part of its folder is a backup of nothing. No good compressed dump is that small.
SMALLEST_PART = 256
# A sparse file has fewer blocks than its length says (stat(2), st_blocks).
BLOCK = 512


@dataclass(frozen=True)
class SavedFolder:
    """The folder that a backup saves, as it was before the program ran.

    Attributes:
        shown: Relative to the site's folder, for messages.
        size: Bytes of all files below, as ``size_of_folder`` counts them.
    """

    shown: str
    size: int

    def lacks(self, backup_bytes: int) -> bool:
        """Return whether a backup of ``backup_bytes`` is too small to save what the folder has."""
        return backup_bytes * SMALLEST_PART < self.size

    @property
    def words(self) -> str:
        return f"{self.shown} has {show_size(self.size)}"


def data_folder(site: Path, release: Release, names: tuple[str, ...]) -> Path:
    """Return what programs get as WAYBILL_DATA: the folder of the service that has the one name of ``names``.

    For several names, or one that no service has, it is the folder above, which has the folders of all services.
    """
    services = {step.step for step in release.install if step.keep_running is not None}
    return site / "data" / names[0] if len(names) == 1 and names[0] in services else site / "data"


def saved_folder(site: Path, release: Release, name: str) -> SavedFolder:
    """Return the folder that the backup ``name`` saves, measured now."""
    folder = data_folder(site, release, (name,))
    return SavedFolder(str(folder.relative_to(site)), size_of_folder(folder))


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
