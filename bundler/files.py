"""Collect folders, single files and Helm charts of the vendor: regular files only; a chart becomes a .tgz."""

import io
import os
import re
import stat
import struct
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import get_args

import yaml
from msgspec import Meta

from bundler.parts import Parts
from manifests.documents.release import FileEntry, FilePath, FileSet
from manifests.trust.keys import read_capped
from manifests.words.errors import DamagedError, HostError, MalformedError, RefusedError

MAX_FILES = 100_000

_PATH = re.compile(next(meta.pattern or "" for meta in get_args(FilePath) if isinstance(meta, Meta)))


def collect_files(name: str, path: Path, parts: Parts) -> FileSet:
    """A file set from a folder or from one file; entries sorted by path.

    Raises:
        RefusedError: An entry is no regular file, or is setuid or setgid.
        MalformedError: It is empty, or a name could not be written at a site.
        HostError: It cannot be read.
    """
    entries = []
    for inside, file in sorted(regular_files(path)):
        if len(inside) > 512 or not _PATH.search(inside):
            problem = f"the name {inside!r} has characters that a file set cannot hold"
            remedy = "rename the file: letters, digits and _ . @ + - and spaces are allowed"
            raise MalformedError(problem, where=str(path), remedy=remedy, finding="file-name")
        blob = parts.file(file)
        entries.append(FileEntry(path=inside, digest=blob.digest, size=blob.size, executable=_is_executable(file)))
    if not entries:
        raise MalformedError("holds no file", where=str(path))
    return FileSet(name=name, entries=tuple(entries))


def regular_files(path: Path) -> Iterator[tuple[str, Path]]:
    """Every file below ``path`` with its name inside, or ``path`` itself; refuses anything else.

    An empty folder is left out.
    """
    try:
        mode = path.lstat().st_mode
        if not stat.S_ISDIR(mode):
            _check_mode(path, mode)
            yield path.name, path
            return
        count = 0
        folders = [""]
        while folders:
            folder = folders.pop()
            with os.scandir(path / folder) as entries:
                for entry in entries:
                    inside = f"{folder}/{entry.name}" if folder else entry.name
                    mode = entry.stat(follow_symlinks=False).st_mode
                    if stat.S_ISDIR(mode):
                        folders.append(inside)
                        continue
                    _check_mode(path / inside, mode)
                    count += 1
                    if count > MAX_FILES:
                        problem = f"the folder has more than {MAX_FILES} files"
                        remedy = "put them into an image or an archive, or leave some out"
                        raise RefusedError(problem, where=str(path), remedy=remedy)
                    yield inside, path / inside
    except OSError as error:
        problem = f"cannot read: {(error.strerror or str(error)).lower()}"
        raise HostError(problem, where=str(error.filename or path)) from None


def _check_mode(path: Path, mode: int) -> None:
    kinds = (
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISBLK, "a device"),
        (stat.S_ISCHR, "a device"),
    )
    for matches, what in kinds:
        if matches(mode):
            problem = f"found {what}, expected a regular file"
            remedy = "replace it by the file itself, or remove it"
            raise RefusedError(problem, where=str(path), remedy=remedy, finding="file-kind")
    if mode & (stat.S_ISUID | stat.S_ISGID):
        problem = f"the file is setuid or setgid (mode {stat.S_IMODE(mode):04o}), expected neither"
        raise RefusedError(problem, where=str(path), remedy=f"chmod u-s,g-s {quote(str(path))}", finding="file-setuid")


def _is_executable(path: Path) -> bool:
    """Whether the owner may execute it; the bits of group and others depend on the umask of its author."""
    return bool(path.stat().st_mode & stat.S_IXUSR)


# Charts are kept in memory while a release is packed; what they install travels as images.
MAX_CHART = 16 << 20
MAX_CHART_FILE = 5 << 20
MAX_ENTRIES = 10_000
_STORED = 0xFFFF


def collect_chart(path: Path) -> bytes:
    """The bytes of the chart's archive.

    Raises:
        MalformedError: No chart, or one that Helm would not load.
        RefusedError: An entry of the folder is no regular file.
        HostError: It cannot be read.
    """
    if path.is_dir():
        return _packed(path)
    data = read_capped(path, MAX_CHART)
    check_chart_archive(data, str(path))
    return data


def _packed(path: Path) -> bytes:
    name = _chart_name(read_capped(path / "Chart.yaml", MAX_CHART_FILE), str(path / "Chart.yaml"))
    out = io.BytesIO()
    total = 0
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for inside, file in sorted(regular_files(path)):
            data = read_capped(file, MAX_CHART_FILE)
            total += len(data)
            if total > MAX_CHART:
                raise MalformedError(f"the chart has more than {MAX_CHART} bytes", where=str(path))
            entry = tarfile.TarInfo(f"{name}/{inside}")
            entry.size = len(data)
            entry.mode = 0o644
            try:
                tar.addfile(entry, io.BytesIO(data))
            except ValueError as error:
                raise MalformedError(f"the name cannot be written in a chart: {error}", where=str(file)) from None
    return stored_gzip(out.getvalue())


def stored_gzip(data: bytes) -> bytes:
    """``data`` as a gzip file without compression (RFC 1951, section 3.2.4).

    A compressor's output differs between builds of zlib, and a release must not depend on the machine that packs it.
    """
    blocks = [data[i : i + _STORED] for i in range(0, len(data), _STORED)] or [b""]
    parts = [b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"]
    for i, block in enumerate(blocks):
        last = i == len(blocks) - 1
        parts += [struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF), block]
    parts.append(struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF))
    return b"".join(parts)


def check_chart_archive(data: bytes, what: str) -> None:
    """Raise MalformedError unless ``data`` is a gzipped tar with ``<name>/Chart.yaml``, read within bounds."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        plain = unpacker.decompress(data, MAX_CHART + 1)
    except zlib.error:
        problem = "not a gzipped tar"
        raise MalformedError(problem, where=what, remedy="name a folder, or a .tgz of helm package") from None
    if len(plain) > MAX_CHART:
        raise MalformedError(f"the chart has more than {MAX_CHART} bytes", where=what)
    if not unpacker.eof:
        raise DamagedError("the archive ends early", where=what)
    try:
        with tarfile.open(fileobj=io.BytesIO(plain), mode="r:") as tar:
            for number, entry in enumerate(tar):
                if number >= MAX_ENTRIES:
                    raise MalformedError(f"the archive has more than {MAX_ENTRIES} entries", where=what)
                parts = entry.name.split("/")
                if entry.name.startswith("/") or ".." in parts or not (entry.isreg() or entry.isdir()):
                    raise MalformedError(f"entry {entry.name} is not a regular file inside the chart", where=what)
                if len(parts) == 2 and parts[1] == "Chart.yaml" and entry.isreg():
                    file = tar.extractfile(entry)
                    assert file is not None
                    _chart_name(file.read(MAX_CHART_FILE), f"{what} {entry.name}")
                    return
    except tarfile.TarError as error:
        raise MalformedError(f"not a tar: {error}", where=what) from None
    raise MalformedError("the archive holds no Chart.yaml", where=what)


def _chart_name(data: bytes, what: str) -> str:
    try:
        chart = yaml.safe_load(data)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(f"not YAML: {' '.join(str(error).split())}", where=what) from None
    fields = chart if isinstance(chart, dict) else {}
    for key in ("apiVersion", "name", "version"):
        if not isinstance(fields.get(key), str) or not fields[key]:
            raise MalformedError(f"the chart has no {key}", where=what)
    name: str = fields["name"]
    if "/" in name or name.startswith("."):
        raise MalformedError(f"found chart name {name!r}, expected one without slash or leading dot", where=what)
    return name
