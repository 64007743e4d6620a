"""What other people's programs say of a bundle: tar, openssl, skopeo, umoci, oras."""

import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from content.bundle.archive import END, header, member_length
from content.bundle.head import VERIFY_TXT
from content.bundle.oci import OCI_CONFIG, OCI_LAYER, OCI_LAYER_GZIP, OCI_MANIFEST
from manifests.words.digest import digest_of
from tests.vectors.of_images import Fields, Images, Shelf
from tests.vectors.surgery import split
from tests.vendor import RELEASE, SECOND, STRANGER, Vendor, small_layer

VENDOR = Vendor(signers=(RELEASE, SECOND))


def needs(tool: str) -> str:
    found = shutil.which(tool)
    if found is None:
        pytest.skip(f"needs {tool}")
    return found


def run(*command: str | Path, cwd: Path, code: int = 0) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=60, env={**os.environ, "LC_ALL": "C"})
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return VENDOR.write(tmp_path / "BUNDLE.tar")


@pytest.fixture
def layout(bundle: Path) -> Path:
    """The bundle unpacked by a stranger's tar."""
    folder = bundle.parent / "layout"
    folder.mkdir()
    run(needs("tar"), "-xf", bundle, "-C", folder, cwd=bundle.parent)
    return folder


def openssl_commands() -> str:
    """The shell text of VERIFY.txt between its openssl sentence and the next one."""
    text = VERIFY_TXT.decode()
    section = text[text.index("with openssl:") : text.index("or with cosign")]
    return "\n".join(line[4:] for line in section.splitlines() if line.startswith("    "))


def follow(bundle: Path, *, public: str) -> str:
    """What a person does who has the key on another way and the text beside the bundle."""
    (bundle.parent / "vendor.pub").write_text(public)
    return subprocess.run(
        ["/bin/sh", "-c", openssl_commands()],
        cwd=bundle.parent,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "LC_ALL": "C"},
    ).stdout


def test_the_openssl_text_followed_literally(bundle: Path) -> None:
    """Two signers, one key: one line says OK, as the text promises."""
    needs("openssl")
    assert "openssl dgst -sha256 -verify vendor.pub" in openssl_commands()
    for signer in (RELEASE, SECOND):
        said = follow(bundle, public=signer.public.pem)
        assert said.count("Verified OK") == 1
        assert said.lower().count("verification failure") == 1


def test_the_openssl_text_tells_a_stranger_and_a_change(bundle: Path) -> None:
    needs("openssl")
    assert "Verified OK" not in follow(bundle, public=STRANGER.public.pem)
    data = bundle.read_bytes().replace(b'"sequence":1', b'"sequence":2')
    assert data != bundle.read_bytes()
    bundle.write_bytes(data)
    assert "Verified OK" not in follow(bundle, public=RELEASE.public.pem)


def test_the_text_names_the_command_that_prints_the_key(bundle: Path, layout: Path) -> None:
    """`waybill show trust/1.root.json --pem release > vendor.pub`, in the unpacked bundle."""
    from tests.waybill import waybill  # the program as a person starts it

    line = next(one.strip() for one in VERIFY_TXT.decode().splitlines() if "--pem release" in one)
    words = line.removesuffix(" > vendor.pub").split()
    assert words[0] == "waybill"
    done = waybill(*words[1:], cwd=layout)
    assert done.out.count("BEGIN PUBLIC KEY") == 2
    assert RELEASE.public.pem.strip() in done.out


def test_the_statement_is_signed_as_openssl_sees_it(bundle: Path, layout: Path) -> None:
    """DSSE by hand: payload and lengths put together with printf, the signature from base64."""
    openssl = needs("openssl")
    (sigstore,) = layout.glob(f"signatures/{RELEASE.public.keyid}.sigstore.json")
    fields = json.loads(sigstore.read_text())
    envelope = fields["dsseEnvelope"]
    script = f"""
    printf %s '{envelope["payload"]}' | base64 -d > payload
    printf %s '{envelope["signatures"][0]["sig"]}' | base64 -d > sig
    (printf 'DSSEv1 %d %s %d ' 28 application/vnd.in-toto+json $(wc -c < payload); cat payload) > pae
    """
    run("/bin/sh", "-c", script, cwd=layout)
    (layout / "vendor.pub").write_text(RELEASE.public.pem)
    command = (openssl, "dgst", "-sha256", "-verify", "vendor.pub", "-signature", "sig", "pae")
    assert "Verified OK" in run(*command, cwd=layout)
    statement = json.loads((layout / "payload").read_text())
    digest = hashlib.sha256((layout / "release.json").read_bytes()).hexdigest()
    assert statement["subject"] == [{"digest": {"sha256": digest}, "name": "release.json"}]
    assert fields["verificationMaterial"]["publicKey"]["hint"]


@pytest.mark.parametrize("tool", ["tar", "bsdtar"])
def test_other_tars_list_it(bundle: Path, tool: str) -> None:
    names = [part.name for part in split(bundle.read_bytes())]
    assert run(needs(tool), "-tf", bundle, cwd=bundle.parent).split() == names


def test_pythons_tar_lists_and_reads_it(bundle: Path) -> None:
    parts = split(bundle.read_bytes())
    with tarfile.open(bundle, "r:") as tar:
        assert [one.name for one in tar] == [part.name for part in parts]
        for part in parts:
            member = tar.extractfile(part.name)
            assert member is not None and member.read() == part.data


@pytest.mark.parametrize("tool", ["tar", "bsdtar"])
def test_other_tars_read_sizes_beyond_eight_gibibytes(tmp_path: Path, tool: str) -> None:
    path = tmp_path / "big.tar"
    with path.open("wb") as file:
        file.write(header("blob", 9 << 30))
        file.truncate(member_length(9 << 30) + len(END))
    assert "9663676416" in run(needs(tool), "-tvf", path, cwd=tmp_path)


def image_of(layout: Path) -> tuple[str, str]:
    """Name and digest of the one image of the example."""
    (found,) = [
        one
        for one in json.loads((layout / "index.json").read_text())["manifests"]
        if one.get("annotations", {}).get("org.opencontainers.image.ref.name")
    ]
    return found["annotations"]["org.opencontainers.image.ref.name"], found["digest"]


def skopeo(tmp: Path, *words: str | Path) -> str:
    return run(needs("skopeo"), f"--tmpdir={tmp}", "--insecure-policy", *words, cwd=tmp)


def test_skopeo_inspects_the_archive_and_the_layout(bundle: Path, layout: Path) -> None:
    name, digest = image_of(layout)
    for source in (f"oci-archive:{bundle}:{name}", f"oci:{layout}:{name}"):
        raw = skopeo(bundle.parent, "inspect", "--raw", source)
        assert "sha256:" + hashlib.sha256(raw.encode()).hexdigest() == digest


@pytest.mark.parametrize("of", ["oci-archive", "oci"])
def test_skopeo_copies_an_image_out_with_the_same_digest(bundle: Path, layout: Path, of: str) -> None:
    name, digest = image_of(layout)
    source = f"oci-archive:{bundle}:{name}" if of == "oci-archive" else f"oci:{layout}:{name}"
    target = bundle.parent / "copied"
    skopeo(bundle.parent, "copy", "--preserve-digests", source, f"oci:{target}:out")
    (copied,) = json.loads((target / "index.json").read_text())["manifests"]
    assert copied["digest"] == digest
    blobs = target / "blobs" / "sha256"
    for hexadecimal in re.findall(r"sha256:([0-9a-f]{64})", (blobs / digest[7:]).read_text()):
        assert hashlib.sha256((blobs / hexadecimal).read_bytes()).hexdigest() == hexadecimal


def plain(shelf: Shelf) -> Fields:
    """An image whose layer is not compressed: skopeo would compress it on the way, and change the digest."""
    layer = gzip.decompress(small_layer({"app/version": b"1.0.0\n"}))
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": [digest_of(layer)], "type": "layers"}}
    described = shelf.put(OCI_CONFIG, json.dumps(config).encode())
    return shelf.document(OCI_MANIFEST, {"config": described, "layers": [shelf.put(OCI_LAYER, layer)]})


def test_skopeo_keeps_uncompressed_layers_when_told_to(tmp_path: Path) -> None:
    path = Images(build=plain).write(tmp_path / "bundle.tar")
    layout = tmp_path / "layout"
    layout.mkdir()
    run(needs("tar"), "-xf", path, "-C", layout, cwd=tmp_path)
    name, digest = image_of(layout)
    skopeo(tmp_path, "copy", "--preserve-digests", f"oci-archive:{path}:{name}", f"oci:{tmp_path}/kept:out")
    (kept,) = json.loads((tmp_path / "kept" / "index.json").read_text())["manifests"]
    assert kept["digest"] == digest


def test_umoci_lists_the_image(bundle: Path, layout: Path) -> None:
    name, _ = image_of(layout)
    assert name in run(needs("umoci"), "ls", "--layout", layout, cwd=layout).split()


def runnable(shelf: Shelf) -> Fields:
    """An image with all that a runtime asks of a configuration."""
    layer = small_layer({"app/version": b"1.0.0\n"})
    raw = gzip.decompress(layer)
    config = {
        "architecture": "amd64",
        "config": {},
        "history": [{"created_by": "test"}],
        "os": "linux",
        "rootfs": {"diff_ids": ["sha256:" + hashlib.sha256(raw).hexdigest()], "type": "layers"},
    }
    described = shelf.put(OCI_CONFIG, json.dumps(config).encode())
    return shelf.document(OCI_MANIFEST, {"config": described, "layers": [shelf.put(OCI_LAYER_GZIP, layer)]})


def test_umoci_unpacks_the_image(tmp_path: Path) -> None:
    umoci = needs("umoci")
    path = Images(build=runnable).write(tmp_path / "bundle.tar")
    layout = tmp_path / "layout"
    layout.mkdir()
    run(needs("tar"), "-xf", path, "-C", layout, cwd=tmp_path)
    name, _ = image_of(layout)
    run(umoci, "unpack", "--rootless", "--image", f"{layout}:{name}", tmp_path / "out", cwd=tmp_path)
    assert (tmp_path / "out" / "rootfs" / "app" / "version").read_text() == "1.0.0\n"


def test_oras_opens_the_layout(layout: Path) -> None:
    """Its own rules for a layout hold, and it finds every blob of the image, the manifest last."""
    from oras.layout import NewLayout

    name, digest = image_of(layout)
    found = NewLayout(str(layout)).get_ordered_blobs(name)
    assert found[-1] == digest
    assert all((layout / "blobs" / one.replace(":", "/")).exists() for one in found)
