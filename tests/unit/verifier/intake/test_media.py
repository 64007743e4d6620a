"""A medium with good and bad files: the good ones are taken in, the others are named, and the exit says so."""

import bz2
import gzip
import io
import lzma
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from content.bundle.archive import BLOCK
from manifests.trust.keys import read_capped
from manifests.words.errors import HostError, MalformedError
from tests.consignments import consignment_for, signed
from tests.place import Place, make_place
from tests.unit.verifier.intake.test_consignment import put, receive
from tests.vendor import STRANGER, Vendor
from verifier.commands.receive import receive_command
from verifier.commands.show import show_command
from verifier.commands.verify import verify_command
from verifier.intake.bundles import find_bundle, receive_bundle
from verifier.intake.scan import BROKEN as UNREADABLE_KINDS
from verifier.intake.scan import scan

ONE = Vendor(version="1.0.0", sequence=1)
TWO = Vendor(version="1.1.0", sequence=2)
GOOD = ONE.bundle()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_place(tmp_path, ONE)


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


BROKEN: dict[str, Callable[[], bytes]] = {
    "cut in its head": lambda: GOOD[: BLOCK * 5],
    "cut in its bulk": lambda: GOOD[: -BLOCK * 4],
    "a bit of the first block": lambda: flipped(GOOD, 3),
    "the first block lost": lambda: bytes(BLOCK) + GOOD[BLOCK:],
    "a bit of a signed member": lambda: flipped(GOOD, BLOCK * 3 + 40),
    "signed by a stranger": lambda: ONE.but(signers=(STRANGER,)).bundle(),
}


@pytest.mark.parametrize("name", ["a", "z"])
@pytest.mark.parametrize("kind", BROKEN)
def test_a_bad_bundle_beside_a_good_one(place: Place, tmp_path: Path, kind: str, name: str) -> None:
    """Before or after it: the good one is received, the other is named with its reason and what to do."""
    medium = tmp_path / "medium"
    bad = put(medium / name, BROKEN[kind]())
    put(medium / "m", GOOD)
    shown = receive(place, medium, code=14)
    assert [one["item"] for one in shown["received"]] == ["r-1.0.0"]
    (failed,) = shown["not_taken_in"]
    assert str(bad) in failed["where"]
    assert failed["hint"]
    assert shown["error"]["finding"] == "medium-attention"


@pytest.mark.parametrize("kind", BROKEN)
def test_a_bad_bundle_alone_has_the_code_of_its_verdict_or_needs_a_person(
    place: Place, tmp_path: Path, kind: str
) -> None:
    bad = put(tmp_path / "medium" / "a", BROKEN[kind]())
    for path in (bad, bad.parent):
        found = CliRunner().invoke(receive_command, [str(path), "--site", str(place.path)])
        claims = scan(bad, named=path == bad)
        assert found.exit_code in ((14,) if claims in UNREADABLE_KINDS else (3, 4, 7)), found.output
        assert found.output.count(str(bad)) == 1


@pytest.mark.parametrize("name", ["a.json", "z.json"])
def test_a_damaged_root_document_that_a_bundle_mends_keeps_nothing_out(place: Place, tmp_path: Path, name: str) -> None:
    """The consignment is read before the bundle that brings the document again, and is judged once more after it."""
    medium = tmp_path / "medium"
    put(medium / name, signed(consignment_for(place.open().state)))
    put(medium / "m.tar", GOOD)
    own = place.path / "trust" / "1.root.json"
    whole = own.read_bytes()
    own.write_bytes(whole[:100])
    shown = receive(place, medium)
    assert (shown["not_taken_in"], len(shown["consignments"]), len(shown["received"])) == ([], 1, 1)
    assert own.read_bytes() == whole


UNFINISHED: dict[str, tuple[str, bytes, str]] = {
    "an empty bundle": ("small-1.1.0.tar", b"", "it is empty"),
    "a zero-filled bundle": ("small-1.1.0.tar", bytes(272_896), "it begins with 65536 zeros"),
    "a bundle of 300 bytes": ("small-1.1.0.tar", GOOD[:300], "a bundle: it ends after 300 bytes"),
    "an empty root document": ("2.root.json", b"", "it is empty"),
    "a zero-filled revocation list": ("1.revocations.json", bytes(900), "it holds 900 zeros"),
    "an empty consignment": ("consignment.json", b"", "it is empty"),
    "an empty answer": ("ops-1-approve-0123456789ab.json", b"", "it is empty"),
}


@pytest.mark.parametrize("kind", UNFINISHED)
def test_an_unfinished_copy_beside_a_good_bundle_is_named(place: Place, tmp_path: Path, kind: str) -> None:
    """As a medium leaves it that was removed too early; the good bundle is received."""
    name, data, why = UNFINISHED[kind]
    medium = tmp_path / "medium"
    bad = put(medium / name, data)
    put(medium / "z.tar", GOOD)
    shown = receive(place, medium, code=14)
    assert [one["item"] for one in shown["received"]] == ["r-1.0.0"]
    (failed,) = shown["not_taken_in"]
    assert (failed["where"], failed["hint"]) == (str(bad), "copy it again from its source")
    assert failed["problem"].startswith("an unfinished copy")
    assert failed["problem"].endswith(why)


def test_an_empty_file_of_another_name_is_passed_over(place: Place, tmp_path: Path) -> None:
    medium = tmp_path / "medium"
    put(medium / "good.tar", GOOD)
    put(medium / "notes.txt", b"")
    put(medium / "disk.img", bytes(10_240))
    assert receive(place, medium)["not_taken_in"] == []


@pytest.mark.parametrize("data", [b"", bytes(10_240), bytes(272_896)])
@pytest.mark.parametrize("name", ["small-1.1.0.tar", "small-1.1.0.tar.part"])
def test_an_unfinished_copy_is_named_where_no_bundle_is(place: Place, tmp_path: Path, data: bytes, name: str) -> None:
    bad = put(tmp_path / "medium" / name, data)
    error = receive(place, tmp_path / "medium", code=14)["error"]
    assert (error["where"], error["finding"]) == (str(bad), "file-damaged")
    assert error["problem"].startswith("an unfinished copy: it ")
    put(tmp_path / "medium" / "consignment.json", signed(consignment_for(place.open().state)))
    shown = receive(place, tmp_path / "medium", code=14)
    assert [one["where"] for one in shown["not_taken_in"]] == [str(bad)]


@pytest.mark.parametrize("data", [b"", bytes(300), bytes(10_240), GOOD[:300], GOOD[:300] + bytes(3000)])
def test_a_named_file_of_any_name_is_called_an_unfinished_copy(place: Place, tmp_path: Path, data: bytes) -> None:
    bad = put(tmp_path / "download", data)
    error = receive(place, bad, code=14)["error"]
    assert "copy it again from its source" in error["hint"]
    for command in (verify_command, show_command):
        result = CliRunner().invoke(command, [str(bad), "--site", str(place.path)])
        assert result.exit_code == 3
        assert "as an unfinished copy does: copy it again" in result.stderr
    put(tmp_path / "good", GOOD)
    shown = receive(place, bad, tmp_path / "good", code=14)
    assert [one["where"] for one in shown["not_taken_in"]] == [str(bad)]


def test_several_unfinished_copies_are_one_hint_with_their_names(place: Place, tmp_path: Path) -> None:
    put(tmp_path / "medium" / "a.tar", b"")
    put(tmp_path / "medium" / "b.tar", GOOD[:300])
    assert receive(place, tmp_path / "medium", code=14)["error"]["hint"] == (
        "copy them again from their source: a.tar, b.tar"
    )
    with pytest.raises(MalformedError) as caught:
        find_bundle(tmp_path / "medium")
    assert caught.value.remedy == "copy them again from their source: a.tar, b.tar"


def test_a_folder_with_an_unfinished_copy_only_names_it(tmp_path: Path) -> None:
    bad = put(tmp_path / "medium" / "small-1.1.0.tar", bytes(10_240))
    with pytest.raises(MalformedError, match=r"holds no bundle that can be read; .*an unfinished copy") as caught:
        find_bundle(tmp_path / "medium")
    assert str(bad) in caught.value.problem
    assert caught.value.remedy == "copy it again from its source"


def test_files_that_a_person_named_are_all_taken_or_named(place: Place, tmp_path: Path) -> None:
    good, bad = put(tmp_path / "good", GOOD), put(tmp_path / "notes.txt", b"call the customer\n")
    os.mkfifo(tmp_path / "pipe")
    shown = receive(place, bad, good, tmp_path / "pipe", code=14)
    assert [one["item"] for one in shown["received"]] == ["r-1.0.0"]
    assert [one["finding"] for one in shown["not_taken_in"]] == ["not-a-bundle", "not-a-file"]


def test_a_damaged_consignment_is_named(place: Place, tmp_path: Path) -> None:
    """A bit at the beginning, in the type, and at the end."""
    raw = signed(consignment_for(place.open().state))
    medium = tmp_path / "medium"
    put(medium / "good", GOOD)
    for at in (0, 2, raw.index(b"payloadType"), raw.index(b"consignment") + 3, len(raw) - 1):
        note = put(medium / "note", flipped(raw, at))
        shown = receive(place, medium, code=14)
        assert [str(note) in one["where"] for one in shown["not_taken_in"]] == [True], at


def test_foreign_files_and_other_documents_of_ours_are_passed_over(place: Place, tmp_path: Path) -> None:
    medium = tmp_path / "medium"
    put(medium / "good", GOOD)
    put(medium / "photo", b"\xff\xd8\xff" + bytes(90_000))
    put(medium / "other.tar", b"blobs/".ljust(BLOCK, b"\0") + bytes(BLOCK * 9))
    put(medium / "notes", b"application/vnd.waybill is a media type\n")
    put(medium / "json", b'{"payload":"AAAA","payloadType":"application/vnd.in-toto+json","signatures":[]}')
    for path in (*place.path.glob("enrolment*"), *(place.path / "journal").rglob("*")):
        if path.is_file():
            put(medium / f"own-{path.name}", path.read_bytes())
    assert receive(place, medium)["not_taken_in"] == []


def test_a_full_disk_stops_and_says_what_was_received(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "medium" / "a", GOOD)
    put(tmp_path / "medium" / "b", TWO.bundle())

    def full(site: object, path: Path, **given: object) -> object:
        if path.name == "b":
            raise HostError("no space left on device", where="store")
        return receive_bundle(site, path, **given)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr("verifier.intake.media.receive_bundle", full)
    shown = receive(place, tmp_path / "medium", code=6)
    assert [one["item"] for one in shown["received"]] == ["r-1.0.0"]


def test_packed_files_in_a_folder_are_named_and_stay_closed(place: Place, tmp_path: Path) -> None:
    packed = put(tmp_path / "medium" / "bundle.tar.gz", gzip.compress(GOOD))
    error = receive(place, tmp_path / "medium", code=3)["error"]
    assert error["finding"] == "nothing-found"
    assert error["hint"] == f"unpack {packed} first, and name the folder with the content"
    put(tmp_path / "medium" / "a", GOOD)
    shown = receive(place, tmp_path / "medium")
    assert (shown["packed"], shown["not_taken_in"]) == ([str(packed)], [])
    done = CliRunner().invoke(receive_command, [str(tmp_path / "medium"), "--site", str(place.path)])
    assert f"not read: {packed}: it is packed; unpack it first" in done.stdout
    # Named itself, it is an error with the reason.
    assert "it is packed with gzip; a bundle is a plain tar" in receive(place, packed, code=3)["error"]["hint"]


@pytest.mark.parametrize(
    ("begin", "packer"),
    [
        (gzip.compress(GOOD), "gzip"),
        (lzma.compress(GOOD), "xz"),
        (bz2.compress(GOOD), "bzip2"),
        (b"PK\3\4" + bytes(600), "zip"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(600), "7-Zip"),
        (b"Rar!\x1a\x07\x01\x00" + bytes(600), "RAR"),
        (b"\x04\x22\x4d\x18\x64" + bytes(600), "lz4"),
        (b"LZIP\x01" + bytes(600), "lzip"),
        (b"\x1f\x9d\x90" + bytes(600), "compress"),
        (b"MSCF" + bytes(600), "cab"),
    ],
)
def test_a_packed_file_that_was_named_is_called_by_its_packer(tmp_path: Path, begin: bytes, packer: str) -> None:
    root = put(tmp_path / "root", ONE.root_file())
    for command in (show_command, verify_command):
        found = CliRunner().invoke(command, [str(put(tmp_path / "a", begin)), "--root", str(root)])
        assert found.exit_code == 3
        assert f"hint: it is packed with {packer}; a bundle is a plain tar: unpack it first (" in found.output


DISKS = {
    "ISO 9660": bytes(32768) + b"\x01CD001\x01" + bytes(8000),
    "FAT or NTFS": (b"\xeb\x3c\x90mkfs.fat" + bytes(43) + b"FAT16   ").ljust(510, b"\0") + b"\x55\xaa" + bytes(99),
    "ext": bytes(1080) + b"\x53\xef\x01\x00" + bytes(40_000),
    "squashfs": b"hsqs" + bytes(900),
}


@pytest.mark.parametrize("kind", DISKS)
def test_a_disk_image_is_to_be_mounted(place: Place, tmp_path: Path, kind: str) -> None:
    """It may begin with zeros, and is no unfinished copy for that."""
    disk = put(tmp_path / "medium" / "medium.iso", DISKS[kind])
    for command in (show_command, verify_command, receive_command):
        done = CliRunner().invoke(command, [str(disk), "--site", str(place.path)])
        assert done.exit_code == 3
        assert f"it is a disk image ({kind}); a bundle may lie in it: mount it first" in done.stderr
    error = receive(place, tmp_path / "medium", code=3)["error"]
    assert error["hint"] == f"mount {disk} first, and name the folder with the content"
    put(tmp_path / "medium" / "z.tar", GOOD)
    done = CliRunner().invoke(receive_command, [str(tmp_path / "medium"), "--site", str(place.path)])
    assert f"not read: {disk}: it is a disk image; mount it first" in done.stdout


def test_a_tar_around_a_bundle_is_to_be_unpacked(place: Place, tmp_path: Path) -> None:
    """An archive of a whole medium, or a bundle that was packed again: copying it again helps nobody."""
    folder = tmp_path / "medium"
    folder.mkdir()
    with tarfile.open(folder / "all.tar", "w") as outer:
        member = tarfile.TarInfo("medium/a.tar")
        member.size = len(GOOD)
        outer.addfile(member, io.BytesIO(GOOD))
    error = receive(place, folder, code=14)["error"]
    assert error["problem"] == "a tar that another program wrote, with what a file of the vendor holds"
    assert error["hint"] == (
        "if a bundle lies in it, unpack it and name the folder; otherwise ask for the original file"
    )
    put(folder / "all.tar", bytes([GOOD[0] ^ 1]) + GOOD[1:])
    assert receive(place, folder, code=14)["error"]["hint"] == "copy it again from its source"


@pytest.mark.parametrize("command", [show_command, verify_command])
def test_a_pipe_that_was_named_is_refused_at_once(tmp_path: Path, command: object) -> None:
    os.mkfifo(tmp_path / "pipe")
    root = put(tmp_path / "root", ONE.root_file())
    found = CliRunner().invoke(command, [str(tmp_path / "pipe"), "--root", str(root)])  # type: ignore[arg-type]  # one of two commands
    assert (found.exit_code, "a pipe, not a file" in found.output) == (6, True)
    with pytest.raises(HostError, match="a pipe, not a file"):
        read_capped(tmp_path / "pipe", 10)


def test_a_pipe_of_the_shell_is_read(tmp_path: Path) -> None:
    """As in `--root <(gpg -d root.gpg)`."""
    reading, writing = os.pipe()
    os.write(writing, b"content")
    os.close(writing)
    assert read_capped(Path(f"/dev/fd/{reading}"), 10) == b"content"
    os.close(reading)


def test_what_each_file_claims_to_be(tmp_path: Path) -> None:
    assert scan(put(tmp_path / "good", GOOD)) == "bundle"
    assert scan(put(tmp_path / "empty", b"")) == "other"
    assert scan(put(tmp_path / "zeros", bytes(100_000))) == "other"
