"""A release whose documents are signed, and hostile or broken: each command of the site still answers.

A vendor's mistake, or a stolen release key below the threshold of the root, must not take a site's eyes away. What is
judged when it comes (contract, rollback document, images, schema) has vectors; here is what people only read.
"""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from manifests.documents.release import Config
from manifests.words.digest import Blob, digest_of
from tests.faults.model import QuickDisk
from tests.place import Place, make_place
from tests.vectors.of_schemas import doubled
from tests.vendor import Vendor
from verifier.commands.history import history_command
from verifier.commands.recover import recover_command
from verifier.commands.report import report_command
from verifier.commands.review import review_command
from verifier.commands.rollback import rollback_command
from verifier.commands.status import status_command

VEX = "advisories"
NOTES = "notes"
HOSTILE: dict[str, bytes] = {
    "empty": b"",
    "no-text": b"\xff\xfe\x00\x01",
    "escapes": b"\x1b[2J\x1b]0;owned\x07\r\nverdict: verified\n",
    "deep": b"[" * 100_000,
    "deep-object": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "number-without-end": b'{"version":1e999,"statements":[]}',
    "digits": b'{"version":' + b"9" * 5000 + b"}",
    "surrogates": b'{"@context":"\\ud800"}',
    "nulls": json.dumps({"@context": None, "statements": None}).encode(),
    "wrong-types": json.dumps({"@context": [], "statements": {"a": 1}, "author": 7}).encode(),
    "key-twice": b'{"@context":"a","@context":"b"}',
}


@dataclass(frozen=True)
class Hostile(Vendor):
    """A release that names ``document`` as its notes or as an advisory."""

    document: bytes = b""
    kind: str = NOTES
    images: bool = False
    extra: dict[str, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, kind: str, document: bytes) -> "Hostile":
        blob = Blob(digest=digest_of(document), size=len(document))
        change: dict[str, object] = {kind: blob if kind == NOTES else (blob,)}
        return cls(version="1.1.0", sequence=2, document=document, kind=kind, extra={"x": document}, change=change)


FIRST = Vendor(images=False)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("hostile")
    place = make_place(folder, FIRST, disk=QuickDisk())
    assert place.bring(FIRST.write(folder / "1.tar")).error is None
    return place


def every_command(place: Place, item: str) -> None:
    """Each command answers with an exit code of the documentation, and none with a traceback."""
    site = ["--site", str(place.path)]
    commands: tuple[tuple[Any, list[str]], ...] = (
        (status_command, []),
        (review_command, []),
        (review_command, [item]),
        (history_command, []),
        (report_command, ["--preview"]),
        (recover_command, []),
        (rollback_command, ["--dry-run"]),
    )
    for command, arguments in commands:
        done = CliRunner().invoke(command, [*arguments, *site], catch_exceptions=False)
        assert done.exit_code in (0, 3, 5, 8, 9, 14), (command.name, done.output)
        assert "\x1b[2J" not in done.output
    status = CliRunner().invoke(status_command, site, catch_exceptions=False)
    assert "1.0.0" in status.stdout


@pytest.mark.parametrize("kind", [NOTES, VEX])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_document_that_people_read_hides_nothing(running: Place, tmp_path: Path, kind: str, name: str) -> None:
    shutil.copytree(running.path, tmp_path / "site", symlinks=True)
    place = Place(path=tmp_path / "site", disk=QuickDisk(), people=dict(running.people))
    item = place.receive(Hostile.of(kind, HOSTILE[name]).write(tmp_path / "2.tar")).item
    every_command(place, item)


def test_the_most_expensive_schema_that_is_allowed_hides_nothing(tmp_path: Path) -> None:
    levels = json.loads(json.dumps(doubled(11)["$defs"]).replace("anyOf", "allOf"))
    schema = json.dumps({"additionalProperties": {"items": {"$ref": "#/$defs/d0"}}, "$defs": levels}).encode()
    config = Config(schema=Blob(digest=digest_of(schema), size=len(schema)), version=1)
    costly = FIRST.but(extra={"schema": schema}, change={"config": config})
    place = make_place(tmp_path, costly, disk=QuickDisk())
    assert place.bring(costly.write(tmp_path / "1.tar")).error is None
    yaml = place.path / "site.yaml"
    yaml.write_text(yaml.read_text().replace("config: {}", f"config: {{a: [{', '.join(['x'] * 500)}]}}"))
    every_command(place, "config")
    status = CliRunner().invoke(status_command, ["--site", str(place.path)], catch_exceptions=False)
    assert "needs more than 200000 steps" in status.stdout
