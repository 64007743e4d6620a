"""What is printed beside the result itself: the place in commands, folded messages, the bar, short digests."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest

from console.output import escape_json, name_place, print_error, say
from console.progress import progress
from console.screen import fit, terminal_width
from manifests.words.errors import HostError, RefusedError
from manifests.words.text import is_hidden, shorten_digests, table
from tests.vendor import Vendor
from tests.waybill import waybill
from waybill import cli

HEX = "0123456789abcdef" * 4


@contextmanager
def called(*words: str) -> Iterator[None]:
    """The click context of ``waybill WORDS``, without running the command."""
    with cli.make_context("waybill", list(words)) as context:
        group: click.Command = cli
        while isinstance(group, click.Group):
            name, command, rest = group.resolve_command(context, [*context._protected_args, *context.args])
            assert name is not None
            assert command is not None
            context, group = command.make_context(name, rest, parent=context), command
        with context:
            yield


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("next: waybill review r-1.0.0", "next: waybill review --site 'a b' r-1.0.0"),
        ("`waybill review config`, then `waybill install config`",
         "`waybill review --site 'a b' config`, then `waybill install --site 'a b' config`"),
        ("waybill lint release.yaml", "waybill lint release.yaml"),
        ("waybill enroll --help", "waybill enroll --help"),
        ("waybill fleet sites", "waybill fleet sites"),
        ("waybill status --site other", "waybill status --site other"),
        ("next, at the site: waybill receive a.json", "next, at the site: waybill receive a.json"),
        ("a cell\x1fwaybill status", "a cell\x1fwaybill status"),
    ],
)  # fmt: skip
def test_commands_name_the_site_that_was_typed(text: str, expected: str) -> None:
    with called("review", "--site", "a b"):
        assert name_place(text) == expected


def test_a_site_that_was_not_typed_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYBILL_SITE", "east")
    with called("review"):
        assert name_place("waybill review r-1.0.0") == "waybill review r-1.0.0"
    assert name_place("waybill review r-1.0.0") == "waybill review r-1.0.0"


def test_commands_name_the_ledger_that_was_typed_but_no_password() -> None:
    text = "waybill fleet list quarantine, waybill enroll MEDIUM"
    with called("fleet", "list", "alarms", "--fleet", "f", "--site", "east"):
        assert name_place(text) == "waybill fleet list --fleet f quarantine, waybill enroll MEDIUM"
    with called("fleet", "sites", "--fleet", "postgresql://support:secret@db/ledger"):
        assert name_place(text) == text


def test_messages_and_errors_are_folded(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("console.output.terminal_width", lambda stream: 40)
    say("step " * 30)
    print_error(HostError("bad " * 30, where=f"signatures/{HEX}.sig"))
    lines = capsys.readouterr().err.splitlines()
    assert max(map(len, lines)) <= 40
    assert any("signatures/0123456789ab.sig" in line for line in lines)


def test_a_name_of_a_member_has_a_short_digest_and_a_path_keeps_it_whole() -> None:
    assert shorten_digests(f"blobs/sha256/{HEX}: cut") == "blobs/sha256/0123456789ab: cut"
    assert shorten_digests(f"/var/blobs/sha256/{HEX}") == f"/var/blobs/sha256/{HEX}"


def test_no_bar_without_a_total_and_none_before_the_first_byte(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    with progress("packing", 0) as bar:
        bar.advance(5)
    with progress("packing", 10):
        pass
    assert capsys.readouterr().err == ""
    with progress("packing", 10) as bar:
        bar.advance(5)
    assert "packing" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ("receive", "absent"), ("sign", "absent"), ("lint", "absent"), ("verify", "absent", "--root", "absent"),
        ("show", "absent"), ("compare", "absent", "absent"), ("enroll", "absent"), ("trust", "absent"),
    ],
    ids=lambda words: str(words[0]),
)  # fmt: skip
def test_a_missing_file_has_one_text_and_one_exit_code(words: tuple[str, ...]) -> None:
    done = waybill(*words)
    assert (done.code, "absent: no such file or folder\nhint: correct the path" in done.err) == (6, True), done.err


def test_a_missing_choice_is_one_line() -> None:
    done = waybill("fleet", "list")
    assert done.code == 2
    assert "Choose from: alarms, consignments, deletions," in done.err
    assert "\\u0009" not in done.err and "\t" not in done.err


def test_a_missing_folder_and_a_missing_key_have_whole_commands(tmp_path: Path) -> None:
    done = waybill("keygen", tmp_path / "a b" / "c.key")
    assert (done.code, f"hint: mkdir -p '{tmp_path}/a b'" in done.err) == (6, True), done.err
    done = waybill("approve", "r-1.0.0", "--condition", "at night")
    assert "hint: waybill approve r-1.0.0 --condition 'at night' --key FILE" in done.err
    (tmp_path / "b.tar").write_bytes(b"x")
    assert f'hint: waybill verify {tmp_path}/b.tar --fingerprint "WORDS"' in waybill("verify", tmp_path / "b.tar").err


def test_a_folder_that_is_no_signing_request(tmp_path: Path) -> None:
    (tmp_path / "b.tar").write_bytes(Vendor().bundle())
    done = waybill("sign", tmp_path / "b.tar", "--attach", tmp_path)
    assert "the folder is no signing request\nhint: name a folder of waybill sign --prepare" in done.err
    assert "b.tar --key FILE" in waybill("sign", tmp_path / "b.tar").err


def test_a_time_in_a_table_is_never_folded() -> None:
    rows: list[tuple[str, ...]] = [
        ("entry", "time", "event"),
        *((str(i), f"2026-11-29T16:17:1{i}Z", "word " * 20) for i in range(6)),
    ]
    assert "2026-11-29T16:17:15Z" in fit(table(rows), 40, verbose=True)


def test_pictures_are_png_and_media_lie_in_a_folder(tmp_path: Path) -> None:
    done = waybill("report", "--qr-out", tmp_path / "x.jpg")
    assert (done.code, "x.jpg does not end in .png" in done.err) == (2, True)
    (tmp_path / "waybill.pyz").write_bytes(b"")
    assert "downloading" not in waybill("kit", tmp_path).err


def test_the_wrong_kind_of_file_is_named(tmp_path: Path) -> None:
    bundle, release = tmp_path / "b.tar", tmp_path / "release.yaml"
    bundle.write_bytes(Vendor().bundle())
    release.write_text("product: pump\n")
    done = waybill("fleet", "enroll", bundle, "--fleet", tmp_path / "fleet")
    assert f"this is a bundle; expected an enrolment\nhint: waybill fleet import --fleet {tmp_path}/fleet" in done.err
    assert "this is a release file; expected a trust file\nhint: waybill build" in waybill("trust", release).err
    done = waybill("verify", bundle, "--root", release)
    assert "hint: name a root document that `waybill trust` wrote, such as trust/1.root.json" in done.err


def test_json_escapes_what_text_escapes_and_is_read_as_before() -> None:
    hidden = "a\x9b31m \x7f \u202eb\u2066 \U000e0041 \ud800 \x1b é \n"
    printed = escape_json(json.dumps({"text": hidden}, ensure_ascii=False, indent=2))
    assert json.loads(printed) == {"text": hidden}
    for escaped in ("\\u009b", "\\u007f", "\\u202e", "\\u2066", "\\udb40\\udc41", "\\ud800", "\\u001b", "é"):
        assert escaped in printed
    assert not [c for c in printed if c != "\n" and is_hidden(ord(c))]


def test_a_command_prints_hidden_characters_as_json_escapes(tmp_path: Path) -> None:
    done = waybill("show", tmp_path / "no\u202e\x9bfile", "--json")
    assert "\\u202e\\u009b" in done.out
    assert done.json["error"]["where"] == str(tmp_path / "no\u202e\x9bfile")


def test_a_terminal_that_knows_no_width_gets_lines_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, end = os.openpty()  # as a serial console: 0 rows and 0 columns
    try:
        with os.fdopen(end, "w") as stream:
            assert stream.isatty()
            assert terminal_width(stream) is None
    finally:
        os.close(terminal)


def test_two_digests_that_begin_alike_are_whole() -> None:
    """Somebody who can make a digest with a chosen beginning must not make two things look like one."""
    first, second, other = HEX, HEX[:20] + "0" * 44, "f" * 64
    text = f"before sha256:{first}, after sha256:{second}, beside sha256:{other}; again sha256:{first}"
    assert shorten_digests(text) == (
        f"before sha256:{first}, after sha256:{second}, beside ffffffffffff; again sha256:{first}"
    )
    assert shorten_digests(f"{first} twice: {first}") == "0123456789ab twice: 0123456789ab"


def test_an_error_that_compares_two_digests_has_both_whole(capsys: pytest.CaptureFixture[str]) -> None:
    found, expected = "sha256:" + HEX, "sha256:" + "f" * 64
    print_error(RefusedError(f"the file has {found}, expected {expected}", where="x", remedy="ask"))
    assert f"the file has {found}, expected {expected}" in capsys.readouterr().err
    print_error(RefusedError(f"the file has {found}, and again {found}", where="x", remedy="ask"))
    assert "the file has 0123456789ab, and again 0123456789ab" in capsys.readouterr().err
