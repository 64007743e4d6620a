"""Archives of docker save and podman save: names, links, and one rule that makes OCI images of them."""

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from content.bundle.docker_archive import MAX_LINKS, open_docker_archive
from content.bundle.layout import Layout, open_archive, read_extent
from content.bundle.oci import CONTAINERD_NAME, OCI_CONFIG, OCI_LAYER, OCI_LAYER_GZIP, OCI_MANIFEST, REF_NAME
from content.bundle.oci import ImageManifest as Manifest
from manifests.words.digest import digest_of
from manifests.words.errors import DamagedError, MalformedError, RefusedError, WaybillError
from tests.images import LayoutWriter, app_files, tiny_layout
from tests.real import tool


def plain_layer(text: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        entry = tarfile.TarInfo("a")
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text))
    return out.getvalue()


BASE, TOP = plain_layer(b"base"), plain_layer(b"top")


@dataclass
class Saved:
    """An archive in the making, as docker save wrote it before it knew OCI layouts."""

    path: Path
    files: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    images: list[dict[str, object]] = field(default_factory=list)

    def image(self, *layers: str, tags: list[str] | None, diff_ids: list[str] | None = None, name: str = "") -> str:
        """Add a config and its entry of manifest.json; the layers are those that lie at the given names."""
        ids = diff_ids or [digest_of(self.files[one]) for one in layers]
        config = json.dumps(
            {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": ids}}
        ).encode()
        name = name or f"{digest_of(config).removeprefix('sha256:')}.json"
        self.files[name] = config
        self.images.append({"Config": name, "RepoTags": tags, "Layers": list(layers)})
        return digest_of(config)

    def save(self) -> Path:
        with tarfile.open(self.path, "w", format=tarfile.PAX_FORMAT) as tar:
            for name, (kind, target) in self.links.items():
                entry = tarfile.TarInfo(name)
                entry.type, entry.linkname = kind, target
                tar.addfile(entry)
            for name, data in {**self.files, "manifest.json": json.dumps(self.images).encode()}.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
        return self.path


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    return Saved(tmp_path / "a.tar", {"1/layer.tar": BASE, "2/layer.tar": TOP})


def manifest_of(layout: Layout, ref: str = "") -> tuple[str, Manifest]:
    entry = layout.pick(ref)
    document = layout.parse(entry)
    assert isinstance(document, Manifest)
    return entry.digest, document


def test_the_rule(saved: Saved) -> None:
    """Config and layers keep their bytes; the manifest is canonical JSON."""
    config = saved.image("1/layer.tar", "2/layer.tar", tags=["app:1.0"])
    layout = open_docker_archive(saved.save()).image("")
    size = len(saved.files[f"{config.removeprefix('sha256:')}.json"])
    layers = ",".join(
        f'{{"digest":"{digest_of(data)}","mediaType":"{OCI_LAYER}","size":{len(data)}}}' for data in (BASE, TOP)
    )
    expected = (
        f'{{"config":{{"digest":"{config}","mediaType":"{OCI_CONFIG}","size":{size}}},"layers":[{layers}],'
        f'"mediaType":"{OCI_MANIFEST}","schemaVersion":2}}'
    )
    digest, document = manifest_of(layout)
    assert layout.read(layout.pick("")) == expected.encode()
    assert digest == digest_of(expected.encode())
    assert [read_extent(layout.extent(one)) for one in document.layers] == [BASE, TOP]
    assert digest_of(read_extent(layout.extent(document.config))) == config


def test_order_and_names_of_members_change_no_digest(saved: Saved, tmp_path: Path) -> None:
    saved.image("1/layer.tar", "2/layer.tar", tags=["app:1.0"])
    other = Saved(tmp_path / "b.tar", {"y/layer.tar": TOP, "x/layer.tar": BASE})
    other.image("x/layer.tar", "y/layer.tar", tags=None, name="config.json")
    first, second = (manifest_of(open_docker_archive(one.save()).image(""))[0] for one in (saved, other))
    assert first == second


@pytest.mark.parametrize(
    ("kind", "target"), [(tarfile.SYMTYPE, "../1/layer.tar"), (tarfile.LNKTYPE, "1/layer.tar")], ids=["soft", "hard"]
)
def test_a_link_stands_for_a_layer_that_is_there_already(saved: Saved, kind: bytes, target: str) -> None:
    saved.links = {"3/layer.tar": (kind, target), "4/layer.tar": (tarfile.SYMTYPE, "../3/layer.tar")}
    ids = [digest_of(BASE)] * 3
    saved.image("1/layer.tar", "3/layer.tar", "4/layer.tar", tags=["app:1.0"], diff_ids=ids)
    _, document = manifest_of(open_docker_archive(saved.save()).image("app:1.0"))
    assert [one.digest for one in document.layers] == ids


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        ("../4/layer.tar", MalformedError, "a link in a circle"),
        ("../9/layer.tar", DamagedError, "3/layer.tar is missing"),
        ("../../etc/passwd", MalformedError, "leads out of the archive"),
        ("/etc/passwd", MalformedError, "leads out of the archive"),
    ],
)
def test_links_that_lead_nowhere(saved: Saved, target: str, error: type[Exception], message: str) -> None:
    saved.links = {"3/layer.tar": (tarfile.SYMTYPE, target), "4/layer.tar": (tarfile.SYMTYPE, "../3/layer.tar")}
    saved.image("3/layer.tar", tags=["app:1.0"], diff_ids=[digest_of(BASE)])
    with pytest.raises(error, match=message):
        open_docker_archive(saved.save()).image("")
    assert MAX_LINKS > 2


@pytest.mark.parametrize(
    "packed", [gzip.compress(BASE, mtime=0), gzip.compress(BASE[:512], mtime=0) + gzip.compress(BASE[512:], mtime=0)]
)
def test_a_layer_that_is_packed_stays_packed(saved: Saved, packed: bytes) -> None:
    saved.files["1/layer.tar"] = packed
    saved.image("1/layer.tar", tags=None, diff_ids=[digest_of(BASE)])
    _, document = manifest_of(open_docker_archive(saved.save()).image(""))
    assert [(one.digest, one.media_type) for one in document.layers] == [(digest_of(packed), OCI_LAYER_GZIP)]


@pytest.mark.parametrize(
    "data",
    [
        TOP,
        gzip.compress(TOP, mtime=0),
        gzip.compress(BASE, mtime=0)[:-4],
        gzip.compress(BASE, mtime=0)[:40] + b"x" * 40,
    ],
)
def test_a_layer_that_is_not_the_one_of_the_config(saved: Saved, data: bytes) -> None:
    saved.files["1/layer.tar"] = data
    saved.image("1/layer.tar", tags=None, diff_ids=[digest_of(BASE)])
    with pytest.raises(DamagedError, match=r"the config says|cannot be unpacked"):
        open_docker_archive(saved.save()).image("")


def test_a_config_under_the_name_of_another(saved: Saved) -> None:
    saved.image("1/layer.tar", tags=None, name=f"{'0' * 64}.json")
    with pytest.raises(DamagedError, match=r"0\.json has bytes with sha256:"):
        open_docker_archive(saved.save()).pick("")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Config": 5}, "expected Config, Layers and RepoTags"),
        ({"Layers": [5]}, "expected Config, Layers and RepoTags"),
        ({"Layers": ["1/layer.tar"] * 2000}, "2000 layers, at most 1024"),
        ({"Layers": []}, "the config names 1 layers, manifest.json 0"),
    ],
)
def test_a_manifest_json_that_is_none(saved: Saved, change: dict[str, object], message: str) -> None:
    saved.image("1/layer.tar", tags=None)
    saved.images[0] |= change
    with pytest.raises(MalformedError, match=message):
        open_docker_archive(saved.save()).image("")


def test_names_full_and_short(saved: Saved) -> None:
    app = saved.image("1/layer.tar", tags=["app:1.0", "registry.example.com:5000/team/app:1.0"])
    web = saved.image("2/layer.tar", tags=["localhost/web:latest"])
    saved.image("1/layer.tar", "2/layer.tar", tags=["other.example.com/team/app:2.0"])
    archive = open_docker_archive(saved.save())
    for ref in ("app:1.0", "docker.io/library/app:1.0", "registry.example.com:5000/team/app:1.0", "team/app:1.0", app):
        assert archive.pick(ref).digest == app
    for ref in ("localhost/web:latest", "web:latest", "web", "localhost/web", "latest"):
        assert archive.pick(ref).digest == web
    assert archive.pick("2.0") != archive.pick("1.0")
    for ref in ("", "app:3.0"):
        with pytest.raises(RefusedError, match=r"images .*, expected one") as caught:
            archive.pick(ref)
        for name in ("docker.io/library/app:1.0", "localhost/web:latest", "other.example.com/team/app:2.0"):
            assert name in caught.value.remedy


@pytest.mark.parametrize("ref", ["", "app:1.0"])
def test_an_archive_without_an_image_says_so(saved: Saved, ref: str) -> None:
    with pytest.raises(RefusedError, match="there is no image in it") as caught:
        open_docker_archive(saved.save()).pick(ref)
    assert (caught.value.finding, caught.value.remedy) == ("image-missing", "save or copy the image again")


def test_what_is_ambiguous_is_listed_with_full_names(saved: Saved) -> None:
    saved.image("1/layer.tar", tags=["a.example.com/team/app:1.0"])
    saved.image("2/layer.tar", tags=["b.example.com/team/app:1.0"])
    with pytest.raises(RefusedError, match=r"2 images called 'app:1.0'") as caught:
        open_docker_archive(saved.save()).pick("app:1.0")
    assert "a.example.com/team/app:1.0, b.example.com/team/app:1.0" in caught.value.remedy


def test_an_image_without_a_name_is_found_by_the_digest_of_its_config(saved: Saved) -> None:
    first, second = saved.image("1/layer.tar", tags=None), saved.image("2/layer.tar", tags=[])
    archive = open_docker_archive(saved.save())
    with pytest.raises(RefusedError) as caught:
        archive.pick("")
    assert first in caught.value.remedy
    assert second in caught.value.remedy
    assert archive.pick(second).digest == second


def test_one_image_in_two_entries(saved: Saved) -> None:
    saved.image("1/layer.tar", tags=["app:1.0"])
    saved.image("1/layer.tar", tags=["app:latest"])
    archive = open_docker_archive(saved.save())
    assert archive.pick("app").digest == archive.pick("app:1.0").digest == archive.pick("").digest


def test_the_form_with_a_layout_keeps_its_digests(tmp_path: Path) -> None:
    """As Docker writes it today: names by containerd in index.json, or in manifest.json alone."""
    writer = LayoutWriter(tmp_path / "layout")
    one, two, three = (writer.image([app_files(str(n))]) for n in range(3))
    for entry, name in ((one, "docker.io/library/app:latest"), (two, "docker.io/widget/web:latest")):
        writer.entries.append(replace(entry, annotations=((CONTAINERD_NAME, name), (REF_NAME, "latest"))))
    writer.entries.append(three)
    writer.save()
    document = json.loads(writer.read(three))
    config = document["config"]["digest"].replace("sha256:", "blobs/sha256/")
    layers = [one["digest"].replace("sha256:", "blobs/sha256/") for one in document["layers"]]
    listed = [{"Config": config, "RepoTags": ["team/three:3.0"], "Layers": layers}]
    (writer.path / "manifest.json").write_text(json.dumps(listed))
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(writer.path, arcname=".")
    archive = open_docker_archive(tmp_path / "a.tar")
    assert not archive.converts
    expected = {"app": one, "widget/web:latest": two, "web": two, "docker.io/team/three:3.0": three, "three:3.0": three}
    for ref, entry in expected.items():
        assert archive.pick(ref).digest == archive.image(ref).pick(ref).digest == entry.digest, ref
    with pytest.raises(RefusedError, match="2 images called 'latest'") as caught:
        archive.pick("latest")
    assert "docker.io/library/app:latest, docker.io/widget/web:latest" in caught.value.remedy
    assert open_archive(tmp_path / "a.tar").pick("web").digest == two.digest


def test_files_that_are_no_archive_of_docker(tmp_path: Path, saved: Saved) -> None:
    with tarfile.open(tmp_path / "empty.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("x"), io.BytesIO())
    with pytest.raises(MalformedError, match=r"holds neither manifest\.json nor oci-layout"):
        open_docker_archive(tmp_path / "empty.tar")
    saved.save()
    for length, message in ((0, "the file is empty"), (1100, "ends inside of ")):
        (tmp_path / "cut.tar").write_bytes(saved.path.read_bytes()[:length])
        with pytest.raises(DamagedError, match=message):
            open_docker_archive(tmp_path / "cut.tar")
    with pytest.raises(MalformedError, match="archive of docker save") as caught:
        open_archive(saved.path)
    assert "docker-archive:" in caught.value.remedy
    (tmp_path / "packed.tar").write_bytes(gzip.compress(saved.path.read_bytes()))
    with pytest.raises(MalformedError, match="not a tar header") as caught:
        open_docker_archive(tmp_path / "packed.tar")
    assert "compressed" in caught.value.remedy


def test_every_truncation_and_change_is_an_error_of_ours(saved: Saved) -> None:
    """Or the same image: what nothing refers to may change."""
    saved.links = {"3/layer.tar": (tarfile.SYMTYPE, "../1/layer.tar")}
    saved.image("1/layer.tar", "3/layer.tar", tags=["app:1.0"], diff_ids=[digest_of(BASE)] * 2)
    data = saved.save().read_bytes()
    good = manifest_of(open_docker_archive(saved.path).image(""))[0]
    changed = [data[:length] for length in range(0, len(data), 512)]
    changed += [data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in range(0, len(data), 61)]
    for damaged in changed:
        saved.path.write_bytes(damaged)
        try:
            archive = open_docker_archive(saved.path)
            for ref in ("", "app:1.0"):
                assert manifest_of(archive.image(ref))[0] == good
        except WaybillError as error:
            assert error.remedy


@pytest.mark.parametrize("value", [5, [5], [{"Config": "x"}], [[]], {"a": 1}, [None], [{"Config": "/etc/passwd"}]])
def test_any_json_is_an_image_or_an_error_of_ours(saved: Saved, value: object) -> None:
    saved.images = value  # type: ignore[assignment]  # that is the test
    with pytest.raises(WaybillError):
        open_docker_archive(saved.save()).image("")


def test_an_archive_by_skopeo(tmp_path: Path) -> None:
    """The writer of podman save; it links the older names to the layers."""
    writer = tiny_layout(tmp_path / "layout")
    words = ["copy", f"oci:{writer.path}:1.0.0", f"docker-archive:{tmp_path / 'a.tar'}:localhost/team/app:1.0"]
    subprocess.run([tool("skopeo"), "--insecure-policy", *words], check=True, capture_output=True)
    _, document = manifest_of(open_docker_archive(tmp_path / "a.tar").image("team/app:1.0"))
    original = json.loads(writer.read(writer.entries[0]))
    plain = [
        gzip.decompress((writer.path / "blobs/sha256" / one["digest"][7:]).read_bytes()) for one in original["layers"]
    ]
    assert [one.digest[7:] for one in document.layers] == [hashlib.sha256(data).hexdigest() for data in plain]
