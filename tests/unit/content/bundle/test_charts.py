"""Charts: the same bytes from every machine, and no archive that Helm would not load."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from content.bundle.charts import MAX_CHART, collect_chart, stored_gzip
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
        (archive({"small/Chart.yaml": b"name: small\n[[[["}), r"Chart.yaml:2: not YAML: "),
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


def names(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
        return tar.getnames()


def test_helmignore_is_applied(chart: Path) -> None:
    (chart / "secrets").mkdir()
    (chart / "secrets" / "token").write_bytes(b"not for customers")
    (chart / "a.bak").write_bytes(b"")
    (chart / "gone").symlink_to("nothing")
    (chart / "templates" / ".a.yaml.swp").write_bytes(b"")
    (chart / ".helmignore").write_bytes(b"# ours\nsecrets/\n*.bak\ngone\n")
    assert names(collect_chart(chart)) == ["small/.helmignore", "small/Chart.yaml", "small/templates/a.yaml"]


def test_helmignore_that_leaves_out_the_chart(chart: Path) -> None:
    (chart / ".helmignore").write_bytes(b"!templates/\n")
    with pytest.raises(MalformedError, match=r"leave out Chart\.yaml"):
        collect_chart(chart)
    (chart / ".helmignore").write_bytes(b"**/x\n")
    with pytest.raises(MalformedError, match=r"\*\*, which Helm does not support"):
        collect_chart(chart)


def test_links_inside_the_chart_are_followed(chart: Path) -> None:
    (chart / "shared").mkdir()
    (chart / "shared" / "lib.tpl").write_bytes(b"shared")
    (chart / "templates" / "_lib.tpl").symlink_to("../shared/lib.tpl")
    (chart / "files").symlink_to("shared")
    data = collect_chart(chart)
    assert "small/files/lib.tpl" in names(data)
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
        linked = tar.extractfile("small/templates/_lib.tpl")
        assert linked is not None and linked.read() == b"shared"
    (chart.parent / "by-link").symlink_to(chart)
    assert collect_chart(chart.parent / "by-link") == data


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("../../other", "outside the chart"),
        ("../../folder", "outside the chart"),
        ("/etc/hostname", "outside the chart"),
        ("nothing", "does not exist"),
        ("link", "does not exist"),
        ("..", "a folder that holds the link"),
        (".", "a folder that holds the link"),
    ],
)
def test_links_that_are_refused(chart: Path, target: str, message: str) -> None:
    (chart.parent / "other").write_bytes(b"")
    (chart.parent / "folder").mkdir()
    (chart / "templates" / "link").symlink_to(target)
    with pytest.raises(RefusedError, match=message) as raised:
        collect_chart(chart)
    assert raised.value.finding == "chart-link"


def test_long_names_and_names_that_are_not_ascii(chart: Path) -> None:
    for name in ("t" * 180 + ".yaml", "\u00fc.yaml"):
        (chart / "templates" / name).write_bytes(b"")
        assert f"small/templates/{name}" in names(collect_chart(chart))


DEPENDS = CHART + b"dependencies:\n- {name: redis, version: 1.x, repository: 'https://charts.example'}\n"


def test_a_dependency_that_is_missing(chart: Path, tmp_path: Path) -> None:
    (chart / "Chart.yaml").write_bytes(DEPENDS)
    with pytest.raises(MalformedError, match="depends on redis") as raised:
        collect_chart(chart)
    assert f"helm dependency update {chart}" in raised.value.remedy
    packed = tmp_path / "small.tgz"
    packed.write_bytes(archive({"small/Chart.yaml": DEPENDS}))
    with pytest.raises(MalformedError, match="depends on redis"):
        collect_chart(packed)


def test_a_dependency_is_known_by_the_name_in_its_chart(chart: Path, tmp_path: Path) -> None:
    (chart / "Chart.yaml").write_bytes(DEPENDS)
    redis = CHART.replace(b"small", b"redis")
    (chart / "charts" / "cache").mkdir(parents=True)
    (chart / "charts" / "cache" / "Chart.yaml").write_bytes(redis)
    collect_chart(chart)
    (chart / "charts" / "cache").rename(chart / "charts" / "_cache")  # Helm passes over it
    with pytest.raises(MalformedError, match="depends on redis"):
        collect_chart(chart)
    (chart / "charts" / "redis-1.0.0.tgz").write_bytes(archive({"redis/Chart.yaml": redis}))
    data = collect_chart(chart)
    packed = tmp_path / "small.tgz"
    packed.write_bytes(data)
    assert collect_chart(packed) == data


def test_dependencies_of_the_first_version_of_charts(chart: Path) -> None:
    (chart / "requirements.yaml").write_bytes(b"dependencies: [{name: redis, version: 1.x}]\n")
    with pytest.raises(MalformedError, match="depends on redis"):
        collect_chart(chart)
    (chart / "requirements.yaml").write_bytes(b"dependencies: [{version: 1.x}]\n")
    with pytest.raises(MalformedError, match="has no name"):
        collect_chart(chart)


@pytest.mark.parametrize(("written", "read"), [("1.10", "1.1"), ("1", "1"), ("2024-01-01", "date")])
def test_a_version_without_quotes(chart: Path, written: str, read: str) -> None:
    (chart / "Chart.yaml").write_bytes(CHART.replace(b"0.1.0", written.encode()))
    with pytest.raises(MalformedError, match=f"version is {written} without quotes.*{read}") as raised:
        collect_chart(chart)
    assert raised.value.remedy == f'write it in quotes: version: "{written}"'


def test_an_archive_of_several_gzip_members(tmp_path: Path) -> None:
    plain = gzip.decompress(archive({"small/Chart.yaml": CHART}))
    packed = tmp_path / "small.tgz"
    packed.write_bytes(gzip.compress(plain[:512]) + gzip.compress(plain[512:]))
    assert collect_chart(packed) == packed.read_bytes()
    packed.write_bytes(gzip.compress(plain) + gzip.compress(b"") * 100)
    with pytest.raises(MalformedError, match="gzip members"):
        collect_chart(packed)


def test_folders_that_are_no_chart(chart: Path) -> None:
    (chart / "Chart.yaml").write_bytes(b"apiVersion: v2\nname: ../x\nversion: 1.0.0\n")
    with pytest.raises(MalformedError, match="expected one without slash or leading dot"):
        collect_chart(chart)
    (chart / "Chart.yaml").unlink()
    with pytest.raises(HostError, match="no such file"):
        collect_chart(chart)
