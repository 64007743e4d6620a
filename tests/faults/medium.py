"""A medium with bad spots: a folder shown through FUSE, read-only, where chosen bytes give EIO and every read counts.

Run as a program it serves one mount until that is unmounted: ``python -m tests.faults.medium SOURCE MOUNT``. The bad
spots are in ``SOURCE/.bad`` (lines ``name start end``) and read again at every open, the log of reads is
``SOURCE/.reads``.
"""

import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Medium:
    """``source``: the folder behind it; ``path``: where it is mounted."""

    source: Path
    path: Path

    def spoil(self, *bad: tuple[str, int, int]) -> None:
        """From the next open on these bytes, and no others, cannot be read."""
        (self.source / ".bad").write_text("".join(f"{name} {start} {end}\n" for name, start, end in bad))

    def reads(self) -> list[tuple[str, int, int]]:
        """Name, offset and length of every read so far, and forget them."""
        log = self.source / ".reads"
        lines = log.read_text().splitlines() if log.exists() else []
        os.truncate(log, 0)
        return [(name, int(at), int(count)) for name, at, count in (line.split() for line in lines)]


@contextmanager
def mounted(folder: Path) -> Iterator[Medium]:
    """``folder`` gets two: ``behind``, to write to, and ``medium``. Skips where FUSE cannot be used."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("needs /dev/fuse")
    try:
        import mfusepy  # noqa: F401 - it loads libfuse, and fails without
    except (ImportError, OSError):
        pytest.skip("needs libfuse")
    medium = Medium(folder / "behind", folder / "medium")
    for path in (medium.source, medium.path):
        path.mkdir()
    (medium.source / ".reads").touch()
    command = [sys.executable, "-m", "tests.faults.medium", str(medium.source), str(medium.path)]
    server = subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE)
    try:
        until = time.monotonic() + 10
        while not medium.path.is_mount():
            if server.poll() is not None:
                assert server.stderr is not None
                pytest.skip(f"needs a FUSE mount: {server.stderr.read().decode()[-200:]}")
            assert time.monotonic() < until, "the mount never came"
            time.sleep(0.02)
        yield medium
    finally:
        subprocess.run(["umount", "-l", medium.path], capture_output=True)
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        if server.stderr is not None:
            server.stderr.close()


def _serve(source: str, mount: str) -> None:
    import mfusepy

    log = os.open(f"{source}/.reads", os.O_WRONLY | os.O_APPEND)

    class Spoiled(mfusepy.Operations):  # type: ignore[misc]  # the library has no types
        """Passes everything through but what is bad."""

        use_ns = True

        def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
            found = os.lstat(source + path)
            names = ("st_mode", "st_size", "st_uid", "st_gid", "st_nlink", "st_ino")
            return {**{name: getattr(found, name) for name in names}, "st_mtime": found.st_mtime_ns}

        def readdir(self, path: str, fh: int) -> list[str]:
            return [".", "..", *(one.name for one in Path(source + path).iterdir() if not one.name.startswith("."))]

        def open(self, path: str, flags: int) -> int:
            return os.open(source + path, os.O_RDONLY)

        def release(self, path: str, fh: int) -> int:
            os.close(fh)
            return 0

        def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
            os.write(log, f"{path[1:]} {offset} {size}\n".encode())
            for start, end in self._bad(path[1:]):
                if offset < end and start < offset + size:
                    raise mfusepy.FuseOSError(errno.EIO)
            return os.pread(fh, size, offset)

        def _bad(self, name: str) -> list[tuple[int, int]]:
            try:
                lines = [line.split() for line in Path(source, ".bad").read_text().splitlines()]
            except FileNotFoundError:
                return []
            return [(int(start), int(end)) for one, start, end in lines if one == name]

    mfusepy.FUSE(Spoiled(), mount, foreground=True, nothreads=True, ro=True, attr_timeout=0, entry_timeout=0)


if __name__ == "__main__":
    _serve(*sys.argv[1:3])
