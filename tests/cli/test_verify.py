"""verify and show, as somebody who does not trust the medium types them."""

import os
from pathlib import Path

import pytest

from manifests.words.fingerprint import as_groups, as_words
from tests.place import make_place
from tests.vendor import RELEASE, STRANGER, Vendor, bulk
from tests.waybill import waybill


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below ``folder``, except the lock, which names its holder."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def vendor(tmp_path: Path) -> Vendor:
    made = Vendor()
    made.write(tmp_path / "small.tar")
    (tmp_path / "root.json").write_bytes(made.root_file())
    return made


def test_verified_by_root_file_groups_words_and_through_a_pipe(vendor: Vendor, tmp_path: Path) -> None:
    bundle = tmp_path / "small.tar"
    digest = vendor.pin().digest
    ways: list[tuple[object, ...]] = [
        ("--root", tmp_path / "root.json"),
        ("--fingerprint", as_groups(digest)),
        ("--fingerprint", as_words(digest)),
    ]
    for way in ways:
        done = waybill("verify", bundle, *way, "--json")
        assert done.code == 0, done
        assert done.json["verdict"] == "verified"
        assert done.json["end"] == "complete"
        assert done.json["signers"] == [RELEASE.public.keyid]
        piped = waybill("verify", "-", *way, "--json", stdin=bundle.read_bytes())
        assert {**piped.json, "file": ""} == {**done.json, "file": ""}


def test_practice_is_said_in_the_verdict(tmp_path: Path) -> None:
    vendor = Vendor(practice=True)
    bundle = vendor.write(tmp_path / "small.tar")
    done = waybill("verify", bundle, "--fingerprint", as_words(vendor.pin().digest))
    assert done.code == 0
    assert done.out.startswith("verdict: verified small 1.0.0, complete, practice (")


def test_nobody_is_trusted_by_default(vendor: Vendor, tmp_path: Path) -> None:
    done = waybill("verify", tmp_path / "small.tar", cwd=tmp_path, HOME=str(tmp_path))
    assert done.code == 2
    assert "--fingerprint" in done.err
    assert waybill("show", tmp_path / "small.tar", cwd=tmp_path, HOME=str(tmp_path)).out.startswith("not verified")
    shown = waybill("show", tmp_path / "small.tar", "--root", tmp_path / "root.json")
    assert shown.out.startswith("head verified: small-works, signed by")


def test_another_vendor_is_untrusted(tmp_path: Path) -> None:
    bundle = Vendor().write(tmp_path / "small.tar")
    other = Vendor(epoch=2)
    done = waybill("verify", bundle, "--fingerprint", as_words(other.pin().digest), "--json")
    assert done.code == 4
    assert done.json["error"]["finding"] == "root-unknown"
    assert done.json["verdict"] == "refused"


def test_the_three_findings_about_signatures(tmp_path: Path) -> None:
    cases = {
        "signature-missing": Vendor(signers=()),
        "signature-unknown": Vendor(signers=(STRANGER,)),
    }
    for finding, vendor in cases.items():
        bundle = vendor.write(tmp_path / f"{finding}.tar")
        done = waybill("verify", bundle, "--fingerprint", as_words(vendor.pin().digest), "--json")
        assert (done.code, done.json["error"]["finding"]) == (4, finding)
    vendor = Vendor()
    data = vendor.bundle()
    at = data.index(b'"issued_at":"2026') + 14
    (tmp_path / "wrong.tar").write_bytes(data[:at] + b"2027" + data[at + 4 :])
    done = waybill("verify", tmp_path / "wrong.tar", "--fingerprint", as_words(vendor.pin().digest), "--json")
    assert (done.code, done.json["error"]["finding"]) == (4, "signature-wrong")


def test_damage_in_the_bulk_names_the_blob_and_its_bytes(vendor: Vendor, tmp_path: Path) -> None:
    data = bytearray(vendor.bundle())
    data[-1500] ^= 1
    (tmp_path / "bad.tar").write_bytes(data)
    done = waybill("verify", tmp_path / "bad.tar", "--root", tmp_path / "root.json")
    assert done.code == 7
    assert "blobs/sha256/" in done.err
    assert "hint:" in done.err


def test_a_cut_bundle_is_incomplete(vendor: Vendor, tmp_path: Path) -> None:
    data = vendor.bundle()
    (tmp_path / "cut.tar").write_bytes(data[:-2000])
    done = waybill("verify", tmp_path / "cut.tar", "--root", tmp_path / "root.json", "--json")
    assert (done.code, done.json["end"]) == (7, "incomplete")
    assert done.json["missing"]


def test_what_is_not_a_bundle(vendor: Vendor, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\x1f\x8b\x08" + bytes(600))
    (tmp_path / "short").write_bytes(b"abc")
    for name, hint in (
        ("x", "packed with gzip"),
        ("short", ""),
        (".", "name the .tar itself"),
        ("nowhere", "no such file"),
    ):
        done = waybill("verify", tmp_path / name, "--root", tmp_path / "root.json")
        assert done.code == (6 if name == "nowhere" else 3), done
        assert hint in done.err
        assert (done.out + done.err).count("no such file") == (name == "nowhere")


def test_two_answers_about_trust_are_one_too_many(vendor: Vendor, tmp_path: Path) -> None:
    done = waybill("verify", tmp_path / "small.tar", "--root", tmp_path / "root.json", "--fingerprint", "x", "--json")
    assert done.code == 2
    assert done.json["exit_code"] == 2


def test_a_mistyped_fingerprint_names_the_group(vendor: Vendor, tmp_path: Path) -> None:
    groups = as_groups(vendor.pin().digest).split()
    groups[6] = ("0000" if groups[6][:4] != "0000" else "1111") + groups[6][4]
    done = waybill("verify", tmp_path / "small.tar", "--fingerprint", " ".join(groups))
    assert done.code == 2
    assert "group 7" in done.err


def test_wrong_options_are_one_line_and_json(tmp_path: Path) -> None:
    done = waybill("verify", "--nonsense", "--json")
    assert done.code == 2
    assert done.json["error"]["problem"].startswith("no such option")


def test_a_site_verifies_a_delta_as_it_receives_it(vendor: Vendor, tmp_path: Path) -> None:
    """What the site holds counts, from a file and from a pipe; nothing is written, and no lock is waited for."""
    place = make_place(tmp_path / "at", vendor)
    place.receive(tmp_path / "small.tar", keep=True)
    release, blobs, index = vendor.release()
    left_out = (release.contract.digest, release.members[-1].digest)
    delta = tmp_path / "delta.tar"
    delta.write_bytes(vendor.bundle()[: release.bulk_at] + bulk(release, blobs, index, skip=left_out))
    at_site = ("--site", place.path, "--json")
    before = tree(place.path)
    with place.hold():
        done = waybill("verify", delta, *at_site)
        piped = waybill("verify", "-", *at_site, stdin=delta.read_bytes())
    assert (done.code, done.json["end"]) == (0, "complete with what this site holds")
    assert {**piped.json, "file": ""} == {**done.json, "file": ""}
    assert tree(place.path) == before
    assert waybill("receive", delta, "--site", place.path).code == 0
    elsewhere = waybill("verify", delta, "--root", tmp_path / "root.json")
    assert (elsewhere.code, "--site" in elsewhere.err) == (7, True)

    held = place.open().blobs / left_out[0].removeprefix("sha256:")
    held.chmod(0o600)
    held.write_bytes(b"other bytes")
    assert waybill("verify", delta, *at_site).json["error"]["finding"] == "blob-damaged"
    held.unlink()
    missing = waybill("verify", delta, *at_site)
    assert (missing.code, missing.json["missing"]) == (7, [left_out[0]])


def test_the_name_of_the_program_alone_prints_its_help() -> None:
    for words in ((), ("fleet",)):
        done = waybill(*words)
        asked = waybill(*words, "--help")
        assert (done.code, done.out, done.err) == (2, asked.out, "")
        assert asked.code == 0


def test_a_file_that_is_not_there_is_named_before_anything_else(tmp_path: Path) -> None:
    """No hint sends people to trust or keys while the first file is missing, a folder or a pipe."""
    (tmp_path / "release.yaml").write_text("product: small\n")
    os.mkfifo(tmp_path / "pipe")
    for verb in ("build", "verify", "show", "lint", "sign"):
        done = waybill(verb, "nowhere", cwd=tmp_path)
        assert (done.code, done.err) == (6, "error: nowhere: no such file or folder\nhint: correct the path\n"), verb
    for verb in ("build", "lint"):
        done = waybill(verb, ".", cwd=tmp_path)
        assert (done.code, "a folder, expected a file" in done.err) == (2, True)
        assert f"waybill {verb} " in done.err.partition("hint:")[2]
    for verb in ("build", "lint", "sign"):
        done = waybill(verb, "pipe", cwd=tmp_path)
        assert "pipe: a pipe, not a file" in done.out + done.err
        assert "hint: copy its content to a file and name that\n" in done.out + done.err


def test_a_pipe_in_place_of_a_bundle_is_named_with_the_way_to_give_a_stream(vendor: Vendor, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    done = waybill("verify", tmp_path / "pipe", "--root", tmp_path / "root.json")
    assert done.code == 6
    assert f"with the same options: waybill verify - < {tmp_path / 'pipe'}" in done.err
