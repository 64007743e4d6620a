"""docs/keys.md is followed to the letter: its files are written, its edits made, its commands run, in order."""

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner

from content.bundle.head import open_head
from manifests.trust.root import parse_root
from manifests.words.digest import digest_of
from manifests.words.fingerprint import as_words
from verifier.site.disk import Disk
from verifier.site.folder import open_site
from verifier.site.host import this_host
from waybill import cli

TEXT = (Path(__file__).parents[2] / "docs" / "keys.md").read_text()
BLOCK = re.compile(r"^(#+) ([^\n]*)$|^```(sh|yaml|diff)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass
class Reader:
    """Somebody who does what the page says. Attributes: done: (section, command, output) of each."""

    home: Path
    where: Path
    done: list[tuple[str, str, str]] = field(default_factory=list)
    paper: str = ""
    release: str = ""

    def run(self, section: str, line: str) -> None:
        words = shlex.split(line.replace("$PAPER", self.paper).replace("$RELEASE", self.release))
        match words:
            case ["cd", folder]:
                self.where = self.where / folder
            case ["mkdir", *folders]:
                for one in folders:
                    (self.where / one).mkdir()
            case ["rm", "-r", *folders]:
                for one in folders:
                    shutil.rmtree(self.where / one)
            case ["waybill", *args]:
                self.waybill(section, line, args)
            case _:
                raise AssertionError(f"the page has a command that this test does not know: {line}")

    def waybill(self, section: str, line: str, args: list[str]) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.where)
            patch.setenv("WAYBILL_PASSPHRASE_FILE", str(self.home / "passphrase"))
            found = CliRunner().invoke(cli, args, catch_exceptions=False)
            wanted = 14 if args[0] == "status" and "running revoked" in found.output else 0
            assert found.exit_code == wanted, f"{line}\n{found.output}"
            if args[0] == "show" and args[1].endswith(".root.json"):
                self.paper = as_words(parse_root((self.where / args[1]).read_bytes(), args[1]).fingerprint)
                shown = found.output if "--page" not in args else (self.where / args[-1]).read_text()
                assert all(word in shown.split() for word in self.paper.split()[1:-1])
            if args[0] == "build":
                bundle = re.findall(r"^built +(\S+)", found.output, re.MULTILINE)[0]
                self.release = digest_of(open_head(self.where / bundle).release)
        self.done.append((section, line, found.output))

    def write(self, text: str) -> None:
        name, _, body = text.removeprefix("# ").partition("\n")
        (self.home / name).write_text(body)

    def edit(self, text: str) -> None:
        """From the top of the file on: a line with a space says where, one with ``-`` goes, one with ``+`` comes."""
        name, _, body = text.removeprefix("# ").partition("\n")
        path = self.home / name
        lines = path.read_text().splitlines()
        at = 0
        for line in body.splitlines():
            mark, rest = line[0], line[1:].replace("$RELEASE", self.release)
            if mark == "+":
                lines.insert(at, rest)
                at += 1
            else:
                at = lines.index(rest, at)
                if mark == "-":
                    del lines[at]
                else:
                    at += 1
        path.write_text("\n".join(lines) + "\n")


def steps() -> Iterator[tuple[str, str, str]]:
    """(section, kind, text) of each block that is to be followed."""
    section = ""
    for match in BLOCK.finditer(TEXT):
        if match[1]:
            section = match[2]
        else:
            yield section, match[3], match[4]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    home = tmp_path_factory.mktemp("vendor")
    (home / "passphrase").write_text("correct horse battery\n")
    (home / "passphrase").chmod(0o600)
    found = Reader(home, home)
    for section, kind, text in steps():
        if kind == "yaml":
            found.write(text)
        elif kind == "diff":
            found.edit(text)
        else:
            for line in text.splitlines():
                found.run(section, line)
    return found


def said(reader: Reader, section: str, command: str) -> str:
    return next(out for part, line, out in reader.done if part == section and line.startswith(command))


def test_the_page_was_followed_to_its_end(reader: Reader) -> None:
    assert len(reader.done) > 45
    assert {section for section, _, _ in reader.done} >= {
        "The beginning",
        "A key is changed",
        "A key is lost or stolen",
        "A release must never be installed again",
        "The quorum is lost",
        "A ceremony",
    }


def test_a_site_says_who_joins_and_leaves(reader: Reader) -> None:
    changed = said(reader, "A key is changed", "waybill receive")
    assert "joins        release" in changed
    assert "retired after epoch 1, sequence 1" in changed
    assert "in force: root 2" in changed
    assert ", revoked" in said(reader, "A key is lost or stolen", "waybill receive trust")


def test_trust_says_what_is_missing(reader: Reader) -> None:
    wrote = said(reader, "A key is lost or stolen", "waybill trust")
    assert "more of the root keys of version 2" in wrote
    assert "root-anna-2 (" in wrote
    assert "missing" not in said(reader, "A key is lost or stolen", "waybill sign trust/3.root.json --key safe")


def test_the_site_ends_where_the_page_says(reader: Reader) -> None:
    state = open_site(reader.home / "works" / "site", Disk(), this_host()).state
    assert (state.trust.root.version, state.trust.root_line) == (1, 1)
    assert state.trust.revocations is not None
    assert state.trust.root_reason == "two of three root keys burned"
    assert "root replaced from paper" in said(reader, "The quorum is lost", "waybill history")
    assert "revoked    by list 1" in said(reader, "A release must never be installed again", "waybill status")


def test_a_third_officer_signed_from_afar(reader: Reader) -> None:
    root = parse_root((reader.home / "works/again/trust/1.root.json").read_bytes(), "x")
    assert len(root.envelope.signatures) == 3
    assert json.loads((reader.home / "works/to-officer-3/root.json").read_text())["vendor"] == "ledger-works"
