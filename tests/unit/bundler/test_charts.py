"""Charts: the same bytes from every machine, and no archive that Helm would not load."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from bundler.files import MAX_CHART, collect_chart, stored_gzip
from manifests.words.errors import DamagedError, HostError, MalformedError, RefusedError

CHART = b"apiVersion: v2\nname: small\nversion: 0.1.0\n"


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    made = tmp_path / "charts" / "other-name"
    (made / "templates").mkdir(parents=True)
    (made / "Chart.yaml").write_bytes(CHART)
    (made / "templates" / "a.yaml").write_bytes(b"kind: ConfigMap\n")
    return made


def archive(files: dict[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            entry.type = kind
            entry.linkname = "x" if kind != tarfile.REGTYPE else ""
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def test_folder(chart: Path) -> None:
    data = collect_chart(chart)
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
        entries = [(one.name, one.mode, one.mtime, one.uid, one.uname) for one in tar]
    assert entries == [("small/Chart.yaml", 0o644, 0, 0, ""), ("small/templates/a.yaml", 0o644, 0, 0, "")]
    (chart / "templates" / "a.yaml").chmod(0o777)
    assert collect_chart(chart) == data


@pytest.mark.parametrize("size", [0, 1, 0xFFFF, 0x10000, 300_000])
def test_stored_gzip(size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    assert gzip.decompress(stored_gzip(data)) == data


def test_what_was_packed_is_taken_as_it_is(chart: Path, tmp_path: Path) -> None:
    packed = tmp_path / "small-0.1.0.tgz"
    packed.write_bytes(collect_chart(chart))
    assert collect_chart(packed) == packed.read_bytes()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"not gzip", "not a gzipped tar"),
        (gzip.compress(b"not tar"), "not a tar|holds no Chart"),
        (archive({"small/values.yaml": b""}), "holds no Chart.yaml"),
        (archive({"Chart.yaml": CHART}), "holds no Chart.yaml"),
        (archive({"../small/Chart.yaml": CHART}), "is not a regular file inside the chart"),
        (archive({"/small/Chart.yaml": CHART}), "is not a regular file inside the chart"),
        (archive({"small/Chart.yaml": b""}, tarfile.SYMTYPE), "is not a regular file inside the chart"),
        (archive({"small/Chart.yaml": b"name: small\n"}), "the chart has no apiVersion"),
        (archive({"small/Chart.yaml": b"[[[["}), "not YAML"),
        (gzip.compress(bytes(MAX_CHART + 1)), "the chart has more than"),
    ],
    ids=range(10),  # the bytes hold the time, and names of tests must not
)
def test_archives_that_are_no_chart(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "chart.tgz"
    path.write_bytes(data)
    with pytest.raises(MalformedError, match=message):
        collect_chart(path)


def test_archive_that_ends_early(chart: Path, tmp_path: Path) -> None:
    path = tmp_path / "chart.tgz"
    path.write_bytes(collect_chart(chart)[:-1])
    with pytest.raises(DamagedError, match="ends early"):
        collect_chart(path)


def test_folders_that_are_no_chart(chart: Path) -> None:
    (chart / "link").symlink_to("Chart.yaml")
    with pytest.raises(RefusedError, match="symbolic link"):
        collect_chart(chart)
    (chart / "link").unlink()
    (chart / "Chart.yaml").write_bytes(b"apiVersion: v2\nname: ../x\nversion: 1.0.0\n")
    with pytest.raises(MalformedError, match="expected one without slash or leading dot"):
        collect_chart(chart)
    (chart / "Chart.yaml").unlink()
    with pytest.raises(HostError, match="no such file"):
        collect_chart(chart)
