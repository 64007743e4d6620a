"""Pack Helm charts: a folder becomes a .tgz with the same bytes everywhere; a .tgz is stored as it is."""

import io
import struct
import tarfile
import zlib
from pathlib import Path

import yaml

from bundler.files import regular_files
from manifests.trust.keys import read_capped
from manifests.words.errors import DamagedError, MalformedError

# Charts are kept in memory while a release is packed; what they install travels as images.
MAX_CHART = 16 << 20
MAX_FILE = 5 << 20
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
    name = _chart_name(read_capped(path / "Chart.yaml", MAX_FILE), str(path / "Chart.yaml"))
    out = io.BytesIO()
    total = 0
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for inside, file in sorted(regular_files(path)):
            data = read_capped(file, MAX_FILE)
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
                    _chart_name(file.read(MAX_FILE), f"{what} {entry.name}")
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
