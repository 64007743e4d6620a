"""One stored document never blinds the rest: each is broken in turn, and every command of the site still answers.

A document is broken as a disk breaks it, and as a vendor could have signed it: then its digest is right, as at a site
whose older verifier took it in.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from manifests.words.digest import digest_of
from tests.faults.model import QuickDisk
from tests.place import Place
from tests.stored import (
    FIRST,
    PLAIN,
    SECOND,
    THIRD,
    broken,
    full_site,
    hostile,
    released_only_by,
    replaced,
    signed_documents,
    stored_documents,
)
from verifier.commands.history import history_command
from verifier.commands.recover import recover_command
from verifier.commands.report import report_command
from verifier.commands.review import review_command
from verifier.commands.rollback import rollback_command
from verifier.commands.status import status_command
from verifier.site import blobs

# By name: the command, its arguments, and what it prints whatever one document is like.
ALWAYS: dict[str, tuple[Any, list[str], tuple[str, ...]]] = {
    "status": (status_command, ["--fast"], ("northern-grid/small/production/east", "1.0.0", "1.1.0", "verifier")),
    "review": (review_command, [], ("r-1.2.0", "config", "policy")),
    "history": (history_command, [], ("1.1.0",)),
    "preview": (report_command, ["--preview"], ('"site":',)),
}
ITEMS: dict[str, tuple[Any, list[str], tuple[str, ...]]] = {
    "status-whole": (status_command, [], ("northern-grid/small/production/east", "1.0.0", "1.1.0", "verifier")),
    **{item: (review_command, [item], ()) for item in ("r-1.2.0", "config", "policy", "b-1")},
    "report": (report_command, [], ()),
    "why": (report_command, ["--why"], ()),
    "rollback": (rollback_command, ["--dry-run"], ()),
    "recover": (recover_command, [], ()),
}
DOCUMENTED = {0, 3, 4, 5, 6, 7, 8, 9, 14}
# What an error calls a document, where it does not name its file.
WORDS = ("contract", "rollback document", "schema", "authorisation", "policy", "approval of", "plan", "revocation list",
         "report", "release", "settings", "config")  # fmt: skip
QUICK = ("status", "preview", "rollback")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return full_site(tmp_path_factory.mktemp("full"))


def run(path: Path, name: str) -> Result:
    command, arguments, _ = {**ALWAYS, **ITEMS}[name]
    return CliRunner().invoke(command, [*arguments, "--site", str(path)])


def answers(path: Path, document: Path, usual: dict[str, int], names: tuple[str, ...]) -> None:
    """Each command ends as documented, shows what the document does not touch, and names the document it lacks."""
    for name in names:
        done = run(path, name)
        said = f"{document} {name} {done.exit_code}: {done.output} {done.exception!r}"
        assert isinstance(done.exception, SystemExit | None), said
        assert done.exit_code in DOCUMENTED, said
        assert "\x1b[2J" not in done.output, said
        shown = ALWAYS.get(name, ITEMS.get(name, ("", [], ())))[2]
        assert all(words in done.stdout for words in shown), said
        if done.exit_code != usual[name]:
            errors = " ".join(line for line in done.output.splitlines() if line.startswith("error: "))
            assert document.name[:12] in errors or any(word in errors for word in WORDS), said


@pytest.fixture(scope="module")
def usual(site: Place) -> dict[str, int]:
    codes = {name: run(site.path, name).exit_code for name in (*ALWAYS, *ITEMS)}
    assert set(codes.values()) == {0}, codes
    return codes


@contextmanager
def believed(monkeypatch: pytest.MonkeyPatch, path: Path, data: bytes) -> Iterator[None]:
    """The file holds ``data`` under the digest of what it held before."""
    digest = digest_of(path.read_bytes())
    with replaced(path, data), monkeypatch.context() as patch:
        patch.setattr(blobs, "digest_of", lambda given: digest if given == data else digest_of(given))
        yield


def test_each_document_damaged(site: Place, usual: dict[str, int]) -> None:
    for i, document in enumerate(stored_documents(site.path)):
        with broken(site.path / document, PLAIN[i % len(PLAIN)]):
            answers(site.path, document, usual, QUICK)


def test_each_document_signed_and_hostile(site: Place, usual: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    for i, document in enumerate(signed_documents(site.path)):
        kinds = [*hostile((site.path / document).read_bytes()).items()]
        _, data = kinds[i % len(kinds)]
        with believed(monkeypatch, site.path / document, data):
            answers(site.path, document, usual, QUICK)


@pytest.mark.parametrize("how", ["missing", "unreadable"])
def test_a_rollback_needs_no_document_of_the_release_that_it_leaves(site: Place, tmp_path: Path, how: str) -> None:
    """All of them broken at once, the generation's own files and heads too."""
    shutil.copytree(site.path, tmp_path / "site", symlinks=True)
    place = Place(path=tmp_path / "site", disk=QuickDisk(), people=dict(site.people))
    later = released_only_by(SECOND, THIRD)
    for document in stored_documents(place.path):
        if document.name in later or document.parts[:2] == ("generations", "2") or document.parts[0] == "heads":
            (place.path / document).unlink()
            if how == "unreadable":
                (place.path / document).symlink_to("/proc/self/mem")
    assert run(place.path, "rollback").exit_code == 0
    ended = place.rollback(1)
    assert ended.error is None
    assert ended.generation is not None
    assert ended.generation.number == 1
    assert any("generation 2 cannot be read" in line for line in place.said)
    assert "1.0.0, generation 1" in run(place.path, "status").stdout


def test_a_rollback_without_the_rollback_document_says_what_is_not_known(site: Place) -> None:
    document = SECOND.release()[0].rollback.digest[7:]
    with broken(site.path / "store" / "blobs" / "sha256" / document, "changed"):
        done = run(site.path, "b-1")
        assert "which versions 1.1.0 lets this site go back to, and what that loses, is not known" in " ".join(
            done.stdout.split()
        )
        found = json.loads(CliRunner().invoke(review_command, ["b-1", "--json", "--site", str(site.path)]).stdout)
    assert ["warning", "rollback-document"] in [finding[:2] for finding in found["findings"]]


def test_a_rollback_needs_no_document_of_its_target_that_people_read(site: Place) -> None:
    release = FIRST.release()[0]
    assert release.notes is not None
    for blob in (release.contract, release.rollback, release.notes, *release.advisories):
        with broken(site.path / "store" / "blobs" / "sha256" / blob.digest[7:], "missing"):
            done = run(site.path, "rollback")
            assert done.exit_code == 0, done.output
            assert "1.0.0 runs without them" in " ".join(done.stdout.split())


def test_without_the_schema_no_value_of_the_config_is_shown(site: Place) -> None:
    """Which values are secret, only the schema says."""
    config = SECOND.release()[0].config
    assert config is not None
    assert "8080" in run(site.path, "config").stdout
    with broken(site.path / "store" / "blobs" / "sha256" / config.schema.digest[7:], "changed"):
        done = run(site.path, "r-1.2.0")
    assert done.exit_code == 0
    assert "not comparable, because the config schema of 1.1.0 cannot be read" in " ".join(done.stdout.split())
    assert "8080" not in done.stdout
