"""`show` reads a signing request, and every file of it."""

import shutil
from pathlib import Path

import pytest

from content.signing.files import write_key
from manifests.trust.envelope_writer import encode_root, seal
from manifests.trust.root import ROOT_TYPE
from manifests.words.fingerprint import as_words
from tests.vendor import RELEASE, ROOT, STRANGER, Vendor
from tests.waybill import waybill


@pytest.fixture(scope="module")
def requests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A request for a root and one for a release, each answered."""
    folder = tmp_path_factory.mktemp("requests")
    (folder / "1.root.json").write_bytes(seal(encode_root(Vendor().root()), ROOT_TYPE, ()))
    Vendor(signers=()).write(folder / "small.tar")
    for file, request, signer in (("1.root.json", "root", ROOT), ("small.tar", "release", RELEASE)):
        write_key(folder / f"{request}.key", signer, None)
        assert waybill("sign", folder / file, "--prepare", folder / request).code == 0
        assert waybill("sign", folder / request, "--key", folder / f"{request}.key").code == 0
    return folder


@pytest.mark.parametrize("name", ["root", "release"])
def test_every_file_and_the_folder_are_shown(name: str, requests: Path) -> None:
    files = sorted((requests / name).iterdir())
    shown = waybill("show", requests / name).out.splitlines()
    assert shown[0].startswith("not signed: compare the fingerprint")
    assert [line.split()[1] for line in shown if line.startswith("file  ")] == [f"{path.name}:" for path in files]
    for path in files:
        done = waybill("show", path)
        assert (done.code, done.out[:3]) == (0, "not"), (path, done)


def test_the_folder_is_compared_with_what_was_agreed(requests: Path) -> None:
    agreed = as_words(Vendor().pin().digest)
    done = waybill("show", requests / "root", "--fingerprint", agreed)
    assert done.out.startswith("not signed: this is the document with the fingerprint that you typed")
    done = waybill("show", requests / "release", "--fingerprint", agreed, "--json")
    assert (done.code, done.json["error"]["finding"]) == (5, "fingerprint-other")


def test_a_signature_is_named_only_when_it_holds(requests: Path, tmp_path: Path) -> None:
    folder = tmp_path / "root"
    shutil.copytree(requests / "root", folder)
    assert f"by key {ROOT.public.keyid[:12]}" in waybill("show", folder / "root.pae.sig").out
    (folder / "root.pae.sig").write_bytes(STRANGER.sign((folder / "root.pae").read_bytes()))
    assert "no signature over root.pae by a key of this root" in waybill("show", folder).out


def test_bytes_that_say_something_else_are_refused(requests: Path, tmp_path: Path) -> None:
    folder = tmp_path / "root"
    shutil.copytree(requests / "root", folder)
    data = (folder / "root.pae").read_bytes()
    (folder / "root.pae").write_bytes(data.replace(b"small-works", b"other-works"))
    assert waybill("show", folder).code == 3
    (folder / "root.pae").write_bytes(data + b" ")
    assert waybill("show", folder / "root.pae").code == 3


def test_a_text_shows_no_control_characters(requests: Path, tmp_path: Path) -> None:
    folder = tmp_path / "release"
    shutil.copytree(requests / "release", folder)
    (folder / "README.txt").write_text("sign this\x1b[2K\u202eeht\n")
    out = waybill("show", folder / "README.txt").out
    assert "\\u001b[2K\\u202eeht" in out
    assert "\x1b" not in out
