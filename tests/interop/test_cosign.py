"""Stock cosign: what it made is read here, always; what it says of ours is asked where it is on PATH.

docs/verify-without-us.md holds the commands and what cosign 3.1.3 and 2.6.5, built from their released source, said to
them. These tests take the commands from that page.
"""

import base64
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest

from content.bundle.head import VERIFY_TXT
from content.bundle.oci import OCI_INDEX, OCI_MANIFEST
from content.registry.client import Registry
from content.registry.session import RegistryOptions
from content.sigstore.signatures import PROVENANCE_V1
from content.sigstore.sigstore_bundle import parse_sigstore_bundle
from manifests.trust.envelope import bundle_payload
from tests.interop.cosign_made import REPOSITORY, image, pieces
from tests.real import docker_registry, tool
from tests.signed_images import CI, Hanging, SignedVendor, pem
from tests.vectors.surgery import request
from tests.vendor import RELEASE, SECOND, Vendor
from verifier.trust.bundle import VerifiedBundle, verify_path
from verifier.trust.findings import refusal

HERE = Path(__file__).parent
PAGE = Path(__file__).parents[2] / "docs" / "verify-without-us.md"
MADE = sorted((HERE / "cosign-made").glob("*.json"), key=lambda path: path.name)


# --- what it made -----------------------------------------------------------------------------------------------------


def hang(on: Hanging, path: Path, change: Any = lambda blobs: blobs) -> None:
    """Everything that cosign left in a registry, as a layout of the vendor's would hold it."""
    made = json.loads(path.read_text())
    assert made["image"] == on.digest, "the image of tests/vendor.py changed: make the files again"
    blobs = change({digest: base64.b64decode(data) for digest, data in made["blobs"].items()})
    tags = {digest: name for name, digest in made["tags"].items()}
    for digest, data in blobs.items():
        on.put(data)
        fields = json.loads(data) if data.startswith(b'{"schemaVersion"') else {}
        if "subject" in fields:
            on.top.append({"mediaType": OCI_MANIFEST, "digest": digest, "size": len(data)})
        elif digest in tags and fields.get("mediaType") == OCI_MANIFEST:
            name = {"org.opencontainers.image.ref.name": f"{REPOSITORY}:{tags[digest]}"}
            on.top.append({"mediaType": OCI_MANIFEST, "digest": digest, "size": len(data), "annotations": name})


def without_indexes(blobs: dict[str, bytes]) -> dict[str, bytes]:
    """A layout needs no list of referrers; and a bundle holds nothing that nothing refers to."""
    return {digest: data for digest, data in blobs.items() if OCI_INDEX.encode() not in data}


def verify(vendor: SignedVendor, folder: Path) -> VerifiedBundle:
    return verify_path(vendor.write(folder / "small.tar"), request(vendor.pin()))


@pytest.mark.parametrize("path", MADE, ids=lambda path: path.stem)
def test_what_cosign_signed_and_attested(path: Path, tmp_path: Path) -> None:
    found = verify(SignedVendor(hang=lambda on: hang(on, path, without_indexes)), tmp_path)
    assert refusal(found.findings) is None
    said = [(one.id, one.level, one.text) for one in found.findings if one.id.startswith("image")]
    form = {"2": "signature tag", "3": "referrer"}[path.stem[0]]
    key = f"ci, key {json.loads(path.read_text())['key'][:12]}"
    assert said == [
        ("image-signature", "ok", f"api: signed by {key} ({form})"),
        (
            "image-attestation",
            "ok",
            f"api: signed {PROVENANCE_V1}, built by https://ci.example/b/1 from https://git.example/small, by {key}",
        ),
    ]


def test_both_forms_are_here() -> None:
    assert [path.stem[0] for path in MADE] == ["2", "3"]


# --- what it says of ours ---------------------------------------------------------------------------------------------


@pytest.fixture
def cosign() -> str:
    return tool("cosign")


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    """The head of a bundle as a stranger unpacks it, and the release key."""
    bundle = Vendor(signers=(RELEASE,)).write(tmp_path / "BUNDLE.tar")
    with tarfile.open(bundle) as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)  # Python before 3.11.4 has none
        tar.extractall(tmp_path)
    (tmp_path / "vendor.pub").write_text(RELEASE.public.pem)
    return tmp_path


def run(cosign: str, script: str, folder: Path, *, loopback: bool = False) -> "subprocess.CompletedProcess[str]":
    """Lines of shell, cut off from every network, with nothing in its home; or with this machine's own alone."""
    prefix = ["unshare", "-rn"] if shutil.which("unshare") and not loopback else []
    environ = {**os.environ, "HOME": str(folder), "PATH": f"{Path(cosign).parent}:{os.environ['PATH']}"}
    environ |= {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
    command = [*prefix, "sh", "-e", "-c", script]
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)


def major(cosign: str) -> str:
    done = subprocess.run([cosign, "version"], capture_output=True, text=True, check=False)
    found = re.search(r"v(\d+)\.\d", done.stdout + done.stderr)
    assert found is not None
    return found[1]


def commands(of: str) -> str:
    """The lines of the page's block for one version, with the key id in its place."""
    found = re.search(rf"<!-- cosign {of} -->\n```\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    return found[1].replace("KEYID", RELEASE.public.keyid)


def test_the_page_has_commands_for_both_versions() -> None:
    assert "verify-blob-attestation" in commands("3")
    assert "--new-bundle-format" in commands("2.6")
    assert all("cosign verify " in commands(f"{version} images") for version in ("3", "2.6"))


def test_a_good_release_and_a_changed_one(cosign: str, unpacked: Path) -> None:
    script = commands("3" if major(cosign) == "3" else "2.6")
    done = run(cosign, script, unpacked)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Verified OK") == script.count("cosign verify")
    release = unpacked / "release.json"
    release.write_bytes(re.sub(rb'"sequence":1', rb'"sequence":2', release.read_bytes()))
    done = run(cosign, script, unpacked)
    assert done.returncode != 0
    assert re.search(r"provided artifact digests? do(es)? not match", done.stderr)
    assert "Verified OK" not in done.stderr


def test_another_key(cosign: str, unpacked: Path) -> None:
    (unpacked / "vendor.pub").write_text(SECOND.public.pem)
    done = run(cosign, commands("3" if major(cosign) == "3" else "2.6"), unpacked)
    assert done.returncode != 0
    assert "Verified OK" not in done.stderr


def test_the_text_in_the_bundle(cosign: str, unpacked: Path) -> None:
    """VERIFY.txt, literally; it asks for cosign 3."""
    if major(cosign) != "3":
        pytest.skip("VERIFY.txt is for cosign 3.0.4 or newer")
    block = VERIFY_TXT.decode().partition("or with cosign")[2]
    script = "\n".join(line[4:] for line in block.splitlines() if line.startswith("    "))
    done = run(cosign, script, unpacked)
    assert done.returncode == 0, done.stderr
    assert "Verified OK" in done.stderr


@pytest.mark.parametrize("rekor", [1, 2])
def test_a_release_signed_by_an_identity(cosign: str, rekor: Literal[1, 2], tmp_path: Path) -> None:
    """The page's commands, under the private Sigstore that our own judge is tested with."""
    pytest.importorskip("sigstore", reason="sigstore is not installed")
    from tests.keyless import IDENTITY, ISSUER, IdentityVendor, Sigstore

    private = Sigstore(rekor=rekor)
    vendor = IdentityVendor(trusted=private.trusted_root(), sign=lambda said: (private.sign_statement(said),))
    bundle = vendor.write(tmp_path / "BUNDLE.tar")
    assert refusal(verify_path(bundle, request(vendor.pin())).findings) is None
    with tarfile.open(bundle) as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)  # Python before 3.11.4 has none
        tar.extractall(tmp_path)
    older = major(cosign) != "3"
    script = commands("2.6 identity" if older else "3 identity")
    for word, text in (
        ("CERTIFICATE", vendor.head().signatures[0].keyid),
        (" IDENTITY ", f" {IDENTITY} "),
        ("ISSUER", ISSUER),
    ):
        assert word in script
        script = script.replace(word, text)
    if older and rekor == 2:
        script = script.replace("--new-bundle-format", "--new-bundle-format --use-signed-timestamps")
    done = run(cosign, script, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Verified OK" in done.stderr
    done = run(cosign, script.replace(IDENTITY, IDENTITY[:-1]), tmp_path)
    assert done.returncode != 0
    assert "expected SAN value" in done.stderr
    release = tmp_path / "release.json"
    release.write_bytes(release.read_bytes().replace(b'"sequence":1', b'"sequence":2'))
    done = run(cosign, script, tmp_path)
    assert done.returncode != 0
    assert re.search(r"provided artifact digests? do(es)? not match", done.stderr)


def test_what_it_attests_is_the_statement_byte_for_byte(cosign: str, tmp_path: Path) -> None:
    """As docs/keys.md has it, by a key: an identity needs a Fulcio, and signs the same bytes."""
    head = Vendor().head()
    said = bundle_payload(head.signatures[0].bundle, "test")
    (tmp_path / "statement.json").write_bytes(said)
    (tmp_path / "release.json").write_bytes(head.release)
    found = re.search(r"^cosign attest-blob .*$", (PAGE.parent / "keys.md").read_text(), re.MULTILINE)
    assert found is not None
    form = "--use-signing-config=false" if major(cosign) == "3" else "--new-bundle-format"
    script = (
        f"export COSIGN_PASSWORD=x\ncosign generate-key-pair\n{found[0]} --key cosign.key --tlog-upload=false {form}"
    )
    done = run(cosign, script, tmp_path)
    assert done.returncode == 0, done.stderr
    assert parse_sigstore_bundle((tmp_path / "statement.sigstore.json").read_bytes()).payload == said


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """A site's registry with the image and what both versions hung on it."""
    with docker_registry(tmp_path) as running, Registry(running.host, RegistryOptions(plain_http=True)) as client:
        digest, blobs = image()
        for path in MADE:
            made = json.loads(path.read_text())
            blobs |= {one: base64.b64decode(data) for one, data in made["blobs"].items()}
        for one, data in blobs.items():
            client.push_blob(REPOSITORY, one, len(data), partial(pieces, data))
        client.push_manifest(REPOSITORY, digest, blobs[digest], OCI_MANIFEST)
        for path in MADE:
            for tag, named in json.loads(path.read_text())["tags"].items():
                data = blobs[named]
                for child in json.loads(data).get("manifests", ()):
                    client.push_manifest(REPOSITORY, child["digest"], blobs[child["digest"]], OCI_MANIFEST)
                media_type = json.loads(data)["mediaType"]
                client.push_manifest(REPOSITORY, tag, data, media_type)
        yield f"{running.host}/{REPOSITORY}@{digest}"


def test_images_in_the_registry_of_a_site(cosign: str, registry: str, tmp_path: Path) -> None:
    (tmp_path / "ci.pub").write_bytes(pem(CI))
    script = commands("3 images" if major(cosign) == "3" else "2.6 images").replace(
        "REGISTRY/REPOSITORY@DIGEST", f"--allow-http-registry {registry}"
    )
    done = run(cosign, script, tmp_path, loopback=True)
    assert done.returncode == 0, done.stderr
    assert "The signatures were verified against the specified public key" in done.stderr
    (tmp_path / "ci.pub").write_text(SECOND.public.pem)
    assert run(cosign, script, tmp_path, loopback=True).returncode != 0
