"""Collect Helm charts of the vendor: a folder is packed as Helm packs it, an archive is checked and taken as it is."""

import io
import os
import posixpath
import stat
import struct
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from shlex import quote

import yaml

from content.bundle.helmignore import IgnoreRules, parse_helmignore
from content.bundle.regular_files import check_mode
from manifests.authored.named_file import read_named_file
from manifests.words.errors import DamagedError, MalformedError, RefusedError, unreadable

# Charts are kept in memory while a release is packed; what they install travels as images.
MAX_CHART = 16 << 20
MAX_CHART_FILE = 5 << 20
MAX_ENTRIES = 10_000
MAX_IGNORE_FILE = 1 << 20
_MAX_MEMBERS = 64
_STORED = 0xFFFF
_PACK = "name a folder, or a .tgz of `helm package`"


def collect_chart(path: Path) -> bytes:
    """The bytes of the chart's archive.

    Raises:
        MalformedError: No chart, or one that Helm would not load or install.
        RefusedError: An entry of the folder is no regular file, or a link leads out of the chart.
        HostError: It cannot be read.
    """
    if path.is_dir():
        return _packed(path)
    data = read_named_file(path, MAX_CHART)
    check_chart_archive(data, path)
    return data


def _packed(path: Path) -> bytes:
    name = _chart_name(read_named_file(path / "Chart.yaml", MAX_CHART_FILE), str(path / "Chart.yaml"))
    files: dict[str, bytes] = {}
    total = 0
    for inside, file in sorted(chart_files(path)):
        files[inside] = read_named_file(file, MAX_CHART_FILE)
        total += len(files[inside])
        if total > MAX_CHART:
            raise MalformedError(f"the chart has more than {MAX_CHART} bytes", where=str(path))
    if "Chart.yaml" not in files:
        problem = "the rules leave out Chart.yaml, without which Helm does not load a chart"
        remedy = "correct the rules; a pattern after ! leaves out everything that it does not match"
        raise MalformedError(problem, where=str(path / ".helmignore"), remedy=remedy)
    _check_dependencies(files, path, f"helm dependency update {quote(str(path))}")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for inside, data in files.items():
            entry = tarfile.TarInfo(f"{name}/{inside}")
            entry.size = len(data)
            entry.mode = 0o644
            tar.addfile(entry, io.BytesIO(data))
    return stored_gzip(out.getvalue())


def chart_files(root: Path) -> Iterator[tuple[str, Path]]:
    """Every file of a chart's folder that Helm packs, with its name inside.

    Links inside the chart are followed, as Helm follows them; a link out of it is refused, because what it leads to is
    no part of what was reviewed as the chart.
    """
    try:
        top = root.resolve(strict=True)
        rules = _ignore_rules(root)
        folders: list[tuple[str, tuple[Path, ...]]] = [("", (top,))]
        count = 0
        while folders:
            folder, above = folders.pop()
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    inside = f"{folder}/{entry.name}" if folder else entry.name
                    mode = _mode(entry)
                    if rules.leave_out(inside, folder=stat.S_ISDIR(mode)):
                        continue
                    count += 1
                    if count > MAX_ENTRIES:
                        raise MalformedError(f"the chart has more than {MAX_ENTRIES} entries", where=str(root))
                    real = _resolved(root / inside, top, above) if entry.is_symlink() else Path(root, inside).resolve()
                    if stat.S_ISDIR(mode):
                        folders.append((inside, (*above, real)))
                        continue
                    check_mode(root / inside, mode)
                    yield inside, root / inside
    except OSError as error:
        raise unreadable(error, str(error.filename or root)) from None


def _mode(entry: "os.DirEntry[str]") -> int:
    """The mode of what an entry leads to; of the link itself if it leads to nothing."""
    try:
        return entry.stat().st_mode
    except OSError:
        return entry.stat(follow_symlinks=False).st_mode


def _resolved(link: Path, top: Path, above: tuple[Path, ...]) -> Path:
    """What a link leads to, inside ``top`` and not one of the folders ``above`` the link."""
    target = str(link.readlink())
    try:
        real = link.resolve(strict=True)
    except (OSError, RuntimeError):
        problem = f"the link leads to {target!r}, which does not exist"
        remedy = "correct the link, or remove it"
        raise RefusedError(problem, where=str(link), remedy=remedy, finding="chart-link") from None
    if not real.is_relative_to(top):
        problem = f"the link leads to {target!r}, which is outside the chart"
        remedy = "replace the link by the file or folder itself, or name the .tgz that `helm package` makes"
        raise RefusedError(problem, where=str(link), remedy=remedy, finding="chart-link")
    if real in above:
        problem = f"the link leads to {target!r}, a folder that holds the link"
        raise RefusedError(problem, where=str(link), remedy="remove the link", finding="chart-link")
    return real


def _ignore_rules(root: Path) -> IgnoreRules:
    path = root / ".helmignore"
    data = read_named_file(path, MAX_IGNORE_FILE) if path.is_file() else b""
    return parse_helmignore(data, str(path))


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


def check_chart_archive(data: bytes, path: Path) -> None:
    """Raise MalformedError unless ``data`` is a gzipped tar with ``<name>/Chart.yaml`` and all its dependencies."""
    files = _archived(data, str(path))
    if "Chart.yaml" not in files:
        problem = "the archive holds no Chart.yaml in its first folder"
        raise MalformedError(problem, where=str(path), remedy=_PACK)
    _chart_name(files["Chart.yaml"], f"{path} Chart.yaml")
    _check_dependencies(files, path, "helm dependency update FOLDER")


def chart_facts(data: bytes, what: str) -> tuple[str, str]:
    """Return name and version that ``Chart.yaml`` of an archive states. Raises MalformedError."""
    stated = _mapping(_archived(data, what).get("Chart.yaml", b""), f"{what} Chart.yaml")
    return str(stated.get("name") or ""), str(stated.get("version") or "")


def chart_file(data: bytes, name: str, what: str) -> bytes | None:
    """Return a file of a chart's archive by its name inside the chart; None when there is none."""
    return _archived(data, what).get(name)


def _archived(data: bytes, what: str) -> dict[str, bytes]:
    """The files of a chart's archive by their name inside the chart: its first folder is left away, as Helm does."""
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(_unpacked(data, what)), mode="r:") as tar:
            for number, entry in enumerate(tar):
                if number >= MAX_ENTRIES:
                    raise MalformedError(f"the archive has more than {MAX_ENTRIES} entries", where=what)
                if entry.name.startswith("/") or ".." in entry.name.split("/") or not (entry.isreg() or entry.isdir()):
                    raise MalformedError(f"entry {entry.name} is not a regular file inside the chart", where=what)
                inside = posixpath.normpath(entry.name.partition("/")[2] or ".")
                if entry.isreg() and inside != ".":
                    file = tar.extractfile(entry)
                    assert file is not None
                    files[inside] = file.read(MAX_CHART)
    except tarfile.TarError as error:
        raise MalformedError(f"not a tar: {error}", where=what, remedy=_PACK) from None
    return files


def _unpacked(data: bytes, what: str) -> bytes:
    """The tar of a .tgz. A gzip file may have several members (RFC 1952, section 2.2)."""
    plain = bytearray()
    for _ in range(_MAX_MEMBERS):
        unpacker = zlib.decompressobj(wbits=31)
        try:
            plain += unpacker.decompress(data, MAX_CHART + 1 - len(plain))
        except zlib.error:
            raise MalformedError("not a gzipped tar", where=what, remedy=_PACK) from None
        if len(plain) > MAX_CHART:
            raise MalformedError(f"the chart has more than {MAX_CHART} bytes", where=what)
        if not unpacker.eof:
            raise DamagedError("the archive ends early", where=what)
        data = unpacker.unused_data
        if not data:
            return bytes(plain)
    raise MalformedError(f"the archive has more than {_MAX_MEMBERS} gzip members", where=what, remedy=_PACK)


def _check_dependencies(files: Mapping[str, bytes], path: Path, fetch: str) -> None:
    """Raise MalformedError unless every dependency that the chart states is in ``charts/``, known by its name."""
    wanted: list[str] = []
    # Charts of version v1 state them in a file of their own, which replaces what Chart.yaml says.
    for stating in ("requirements.yaml", "Chart.yaml"):
        stated = _mapping(files.get(stating, b""), f"{path} {stating}").get("dependencies")
        if stated:
            wanted = _dependency_names(stated, f"{path} {stating}")
            break
    missing = sorted(set(wanted) - set(_packed_dependencies(files, path))) if wanted else []
    if missing:
        problem = f"the chart depends on {', '.join(missing)}, which its folder charts/ does not have"
        remedy = f"run `{fetch}`, which fetches it" + ("" if path.is_dir() else ", then `helm package FOLDER`")
        raise MalformedError(problem, where=str(path), remedy=remedy, finding="chart-dependency")


def _dependency_names(stated: object, what: str) -> list[str]:
    entries = stated if isinstance(stated, list) else [stated]
    names = [entry.get("name") if isinstance(entry, dict) else None for entry in entries]
    if not all(isinstance(name, str) and name for name in names):
        raise MalformedError("an entry of dependencies has no name", where=what, remedy="give each entry a name")
    return [str(name) for name in names]


def _packed_dependencies(files: Mapping[str, bytes], path: Path) -> Iterator[str]:
    """The names of the charts in ``charts/``, folders and archives; Helm passes over names with ``.`` or ``_``."""
    for inside, data in files.items():
        folder, _, rest = inside.removeprefix("charts/").partition("/")
        if not inside.startswith("charts/") or folder.startswith((".", "_")):
            continue
        what = f"{path} {inside}"
        if not rest and folder.endswith(".tgz"):
            chart = _archived(data, what).get("Chart.yaml", b"")
        elif rest == "Chart.yaml":
            chart = data
        else:
            continue
        name = _mapping(chart, what).get("name")
        if isinstance(name, str):
            yield name


def _mapping(data: bytes, what: str) -> dict[object, object]:
    try:
        value = yaml.safe_load(data)
    except yaml.MarkedYAMLError as error:
        where = f"{what}:{error.problem_mark.line + 1}" if error.problem_mark else what
        raise MalformedError(f"not YAML: {error.problem or error.context}", where=where) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise MalformedError(f"not YAML: {' '.join(str(error).split())}", where=what) from None
    return value if isinstance(value, dict) else {}


def _chart_name(data: bytes, what: str) -> str:
    fields = _mapping(data, what)
    for key in ("apiVersion", "name", "version"):
        value = fields.get(key)
        if value is None or value == "":
            raise MalformedError(f"the chart has no {key}", where=what, remedy=f"add {key} to Chart.yaml")
        if not isinstance(value, str):
            written = _written(data, key)
            problem = f"{key} is {written} without quotes, which YAML reads as {value!r}, expected text"
            raise MalformedError(problem, where=what, remedy=f'write it in quotes: {key}: "{written}"')
    name = str(fields["name"])
    if "/" in name or name.startswith("."):
        raise MalformedError(f"found chart name {name!r}, expected one without slash or leading dot", where=what)
    return name


def _written(data: bytes, key: str) -> str:
    """The text of a scalar as it stands in the file."""
    node = yaml.compose(data, Loader=yaml.SafeLoader)
    assert isinstance(node, yaml.MappingNode)
    values = [value for name, value in node.value if isinstance(name, yaml.ScalarNode) and name.value == key]
    return values[-1].value if values and isinstance(values[-1], yaml.ScalarNode) else "a list or a mapping"
