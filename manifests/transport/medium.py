"""Choose a safe folder to write to on a removable medium."""

from pathlib import Path

from manifests.words.errors import RefusedError


def folder_on(medium: Path, *names: str) -> Path:
    """The folder below ``medium``, which need not exist yet.

    Raises:
        RefusedError: A name on the way is a symbolic link or a file, so what is written would land elsewhere.
    """
    path = medium
    for name in names:
        path = path / name
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            problem = "on a medium, only a real folder is written into"
            remedy = "remove it from the medium, or name another one"
            raise RefusedError(problem, where=str(path), remedy=remedy, finding="not-a-folder")
    return path
