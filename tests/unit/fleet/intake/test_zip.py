"""Reports in zip archives, within limits; mails of Outlook and empty folders are named."""

import bz2
import gzip
import io
import lzma
import os
import struct
import zipfile
from pathlib import Path

import pytest
from sqlalchemy import Engine

from fleet.intake import zips
from fleet.intake.intake import import_paths
from fleet.intake.result import FileResult, ImportResult, import_attention, import_text
from manifests.transport.armour import armour_report
from manifests.words.errors import MalformedError
from tests.unit.fleet.intake.test_carriers import NOW, engine, held, medium, site
from tests.unit.fleet.intake.test_mail import attached, mail
from tests.unit.fleet.reporter import Reporter

__all__ = ["engine", "medium", "site"]


def zipped(*files: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.mkdir("a folder")
        for number, data in enumerate(files):
            archive.writestr(f"a folder/{number}", data)
    return out.getvalue()


def bring(engine: Engine, medium: Path, data: bytes) -> ImportResult:
    """Import a folder with this one file."""
    for old in medium.iterdir():
        old.unlink()
    (medium / "carried").write_bytes(data)
    return import_paths(engine, (medium,), NOW)


def named(engine: Engine, medium: Path, data: bytes) -> ImportResult:
    path = medium / "named.zip"
    path.write_bytes(data)
    return import_paths(engine, (path,), NOW)


def only(result: ImportResult) -> FileResult:
    (file,) = result.files
    return file


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_reports_in_a_zip(engine: Engine, site: Reporter, medium: Path, method: int) -> None:
    """As files, as text, in a mail inside it; beside what is not ours."""
    one, two, three = site.report(), site.report(), site.report()
    mailed = mail(text=armour_report(three)).as_bytes()
    done = bring(engine, medium, zipped(one, armour_report(two).encode(), mailed, b"photograph", method=method))
    assert done.counts == {"report": 3}
    assert held(engine) == [one, two, three]


def test_a_zip_attached_to_a_mail(engine: Engine, site: Reporter, medium: Path) -> None:
    done = bring(engine, medium, attached(zipped(site.report()), kind="zip"))
    assert done.counts == {"report": 1}


def test_a_long_zip_is_read_whole(engine: Engine, site: Reporter, medium: Path) -> None:
    photograph = bytes(range(256)) * 2000
    done = bring(engine, medium, zipped(photograph, site.report(), method=zipfile.ZIP_STORED))
    assert done.counts == {"report": 1}


def test_nothing_inside_an_inner_archive_is_read(engine: Engine, site: Reporter, medium: Path) -> None:
    done = named(engine, medium, zipped(zipped(site.report())))
    assert done.counts == {"unused": 1}
    assert only(done).text == "packed with zip inside another file, which is not opened"
    assert "unpack" in str(only(done).hint)
    assert held(engine) == []


@pytest.mark.parametrize(
    ("packed", "packer", "command"),
    [
        (gzip.compress(b"x"), "gzip", "gunzip"),
        (gzip.compress(os.urandom(2 << 20)), "gzip", "gunzip"),
        (gzip.compress(b"<html><body>" + os.urandom(1000), 0), "gzip", "gunzip"),
        (lzma.compress(b"x"), "xz", "unxz"),
        (bz2.compress(b"x"), "bzip2", "bunzip2"),
        (b"LZIP\x01" + bytes(90), "lzip", "lzip -d"),
        (b"MSCF" + bytes(90), "cab", "cabextract"),
    ],
    ids=["gzip", "long gzip", "gzip with a page", "xz", "bzip2", "lzip", "cab"],
)
def test_a_packed_file_in_a_folder_is_named_with_the_way_on(
    engine: Engine, site: Reporter, medium: Path, packed: bytes, packer: str, command: str
) -> None:
    """It may hold a report. Nobody named it, so a folder of packed logs alone needs nobody."""
    done = bring(engine, medium, packed)
    assert done.counts == {"packed": 1}
    text = import_text(done)
    assert f"packed: {medium / 'carried'}: packed with {packer}, which is not opened" in text
    assert f"  unpack it first ({command} FILE), then import the folder with the content" in text
    assert import_attention(done) is None
    assert import_attention(named(engine, medium, packed)) is not None


def test_two_bytes_alone_pack_nothing(engine: Engine, site: Reporter, medium: Path) -> None:
    """A photograph may begin with any two; the third byte of gzip is its method (RFC 1952, section 2.3.1)."""
    assert bring(engine, medium, b"\x1f\x8b\xff photograph").counts == {"skipped": 1}


def test_what_is_packed_beside_a_report_in_a_zip_or_a_mail_is_named(
    engine: Engine, site: Reporter, medium: Path
) -> None:
    done = bring(engine, medium, zipped(site.report(), gzip.compress(b"x"), zipped(site.report())))
    assert done.counts == {"report": 1, "packed": 2}
    names = [file.name for file in done.files if file.status == "packed"]
    assert names == [f"{medium / 'carried'}, file {number}" for number in (2, 3)]
    done = bring(engine, medium, attached(gzip.compress(site.report()), kind="gzip"))
    assert done.counts == {"packed": 1}


def encrypted(data: bytes) -> bytes:
    """With the flag of a password in both headers."""
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = data.index(mark, data.index(mark) + 1) if data.count(mark) > 1 else data.index(mark)
        (flags,) = struct.unpack_from("<H", data, place + at)
        data = data[: place + at] + struct.pack("<H", flags | 1) + data[place + at + 2 :]
    return data


def broken(data: bytes) -> bytes:
    """One byte of the last member's content is another."""
    at = data.rindex(b"PK\x03\x04") + 60
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("spoil", [encrypted, broken, lambda data: data[:-30], lambda data: data[:5]])
def test_an_archive_that_cannot_be_read_is_named(engine: Engine, site: Reporter, medium: Path, spoil: object) -> None:
    """In a folder it may be anybody's; a person who named it hears what to do."""
    data = spoil(zipped(site.report(), method=zipfile.ZIP_STORED))  # type: ignore[operator]  # functions of bytes
    file = only(bring(engine, medium, data))
    assert (file.status, file.finding) == ("unused", "archive-unreadable")
    done = named(engine, medium, data)
    assert done.files[0].status == "unused" or done.files[-1].status == "unused"
    error = import_attention(done)
    assert error is not None
    assert error.exit_code == 14
    assert "unpack the archive" in import_text(done)


def test_a_broken_member_beside_a_report_counts(engine: Engine, site: Reporter, medium: Path) -> None:
    first = site.report()
    done = bring(engine, medium, broken(zipped(first, site.report(), method=zipfile.ZIP_STORED)))
    assert done.counts == {"report": 1, "quarantined": 1}
    assert held(engine) == [first]


def test_what_unpacks_to_too_much_is_left(
    engine: Engine, site: Reporter, medium: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes that come out are counted, not what the archive states."""
    monkeypatch.setattr(zips, "MAX_MEMBER", 200_000)
    bomb = zipped(site.report(), bytes(10_000_000), site.report())
    assert len(bomb) < 40_000
    done = bring(engine, medium, bomb)
    assert done.counts == {"report": 1, "quarantined": 1}
    assert "unpacks to more than" in done.files[-1].text


def test_the_sum_is_bounded_over_all_archives_of_a_mail() -> None:
    budget = zips.Unpacking(1000)
    data = zipped(bytes(600), bytes(600))
    with pytest.raises(MalformedError, match="unpacks to more"):
        list(zips.members_of(data, "x", budget))
    assert budget.left == 0


def test_too_many_members(engine: Engine, site: Reporter, medium: Path) -> None:
    done = named(engine, medium, zipped(*[b""] * zips.MAX_MEMBERS, site.report()))
    assert only(done).text == "the zip archive holds 257 files; at most 256 are read"


def test_any_truncation_and_flip_is_read_or_named(engine: Engine, site: Reporter, medium: Path) -> None:
    data = zipped(site.report())
    for at in range(0, len(data), 37):
        for changed in (data[:at], data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :]):
            try:
                list(zips.members_of(changed, "x", zips.Unpacking()))
            except MalformedError as error:
                assert error.remedy


OUTLOOK = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504)


@pytest.mark.parametrize("more", [0, 300_000])
def test_a_mail_of_outlook_is_named_with_what_to_do(engine: Engine, medium: Path, more: int) -> None:
    data = OUTLOOK + bytes(more) + "__substg1.0_1000001F".encode("utf-16-le")
    done = bring(engine, medium, data)
    file = only(done)
    assert (file.status, file.finding) == ("unreadable", "mail-unreadable")
    assert "save the mail as .eml" in (file.hint or "")
    assert import_attention(done) is not None


def test_another_compound_file_is_not_ours(engine: Engine, medium: Path) -> None:
    assert bring(engine, medium, OUTLOOK).counts == {"skipped": 1}
    assert bring(engine, medium, OUTLOOK + bytes(300_000)).counts == {"skipped": 1}


def test_an_empty_folder_that_was_named_gives_nothing(
    engine: Engine, site: Reporter, medium: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    (empty / "inner").mkdir(parents=True)
    (medium / "1.json").write_bytes(site.report())
    done = import_paths(engine, (empty, medium), NOW)
    assert done.counts == {"unused": 1, "report": 1}
    (file,) = [one for one in done.files if one.status == "unused"]
    assert (file.name, file.text, file.finding) == (str(empty.resolve()), "the folder holds no file", "folder-empty")
    error = import_attention(done)
    assert error is not None
    assert error.exit_code == 14
