"""One stored document never blinds the rest: each is broken in turn, and every command of the site still answers.

The whole matrix of documents, ways and commands is `python -m tests.stored_matrix`; here is a sample of it.
"""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

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
    released_only_by,
    replaced,
    stored_documents,
)
from tests.stored_matrix import believed_hostile, damaged, run
from verifier.commands.receive import receive_command
from verifier.commands.review import review_command


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return full_site(tmp_path_factory.mktemp("full"))


# The strides have no factor in common with the numbers of ways and commands, so that each meets each.
def test_each_document_damaged(site: Place) -> None:
    assert damaged(site.path, every=29) > 80


@pytest.mark.slow
def test_each_document_damaged_in_each_way(site: Place, tmp_path: Path) -> None:
    assert damaged(site.path, every=7) > 300
    shutil.copytree(site.path, tmp_path / "site", symlinks=True)
    assert damaged(tmp_path / "site", every=3, commands=("recover",)) > 80


def test_each_document_signed_and_hostile(site: Place) -> None:
    assert believed_hostile(site.path, every=101) > 100


@pytest.mark.slow
def test_each_document_signed_and_hostile_in_each_way(site: Place) -> None:
    assert believed_hostile(site.path, every=17) > 600


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
    assert place.said[0].startswith("warning: whether release 1.1.0 allows a rollback to 1.0.0 is not known")
    assert "1.0.0, generation 1" in run(place.path, "status").stdout


def test_a_rollback_without_the_rollback_document_says_what_is_not_known(site: Place) -> None:
    document = SECOND.release()[0].rollback.digest[7:]
    with broken(site.path / "store" / "blobs" / "sha256" / document, "changed"):
        done = run(site.path, "b-1")
        dry = run(site.path, "rollback")
        finding = reviewed(site.path, "b-1")[0]
    assert finding[:2] == ["warning", "rollback-document"], "first of all that people weigh"
    for text in (done.stdout, dry.stdout, finding[2]):
        assert "whether release 1.1.0 allows a rollback to 1.0.0 is not known, nor what a rollback loses" in " ".join(
            text.split()
        )
        assert "before you agree, receive the bundle of small 1.1.0 again" in " ".join(text.split())


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


def test_lost_blobs_come_back_with_the_bundle_of_the_running_release(site: Place, tmp_path: Path) -> None:
    """`recover` alone cannot bring them; the hint of `status` is what does."""
    shutil.copytree(site.path, tmp_path / "site", symlinks=True)
    shutil.rmtree(tmp_path / "site" / "store" / "blobs")
    for name in ("status-whole", "recover"):
        done = run(tmp_path / "site", name)
        assert done.exit_code in (7, 14)
        assert str(tmp_path / "site" / "store" / "blobs" / "sha256") in done.output
        assert "hint: receive the bundle of small 1.1.0 again: waybill receive BUNDLE --keep" in done.output
    bundle = SECOND.write(tmp_path / "1.1.0.tar")
    options = ["--keep", "--site", str(tmp_path / "site")]
    assert CliRunner().invoke(receive_command, [str(bundle), *options]).exit_code == 0
    assert run(tmp_path / "site", "recover").exit_code == 0
    assert run(tmp_path / "site", "status-whole").exit_code == 0


@pytest.mark.parametrize(
    ("count", "words"), [(1, "1 blob is missing or damaged"), (2, "2 blobs are missing or damaged")]
)
def test_a_rollback_counts_its_missing_blobs_in_words(site: Place, tmp_path: Path, count: int, words: str) -> None:
    shutil.copytree(site.path, tmp_path / "site", symlinks=True)
    for blob in FIRST.release()[0].members[:count]:
        (tmp_path / "site" / "store" / "blobs" / "sha256" / blob.digest[7:]).unlink()
    done = run(tmp_path / "site", "rollback")
    assert (done.exit_code, words in done.output) == (7, True)


@pytest.mark.parametrize("how", PLAIN)
def test_the_head_of_a_release_that_waits_comes_back_with_its_bundle(site: Place, tmp_path: Path, how: str) -> None:
    head = site.path / "heads" / f"{digest_of(THIRD.head().release)[7:]}.head"
    with broken(head, how):
        done = run(site.path, "r-1.2.0")
    assert done.exit_code == 7
    state = "missing" if how == "missing" else "damaged"
    assert f"error: {head}: the stored head of release 1.2.0 is {state}" in done.output
    assert "hint: receive the bundle of release 1.2.0 again: waybill receive BUNDLE" in done.output


def test_every_byte_of_a_head_that_changes_has_the_same_way_back(site: Place) -> None:
    """A wrong signature too: it was right when the release was received."""
    head = site.path / "heads" / f"{digest_of(THIRD.head().release)[7:]}.head"
    raw = head.read_bytes()
    codes = set()
    for at in range(0, len(raw), len(raw) // 60):
        with replaced(head, raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]):
            done = run(site.path, "r-1.2.0")
        codes.add(done.exit_code)
        assert done.exit_code == 0 or "hint: receive the bundle of release 1.2.0 again" in done.output, done.output
    assert codes >= {7}


@pytest.mark.parametrize(
    ("name", "item", "words"),
    [
        ("site.yaml", "r-1.2.0", "copy site.yaml from a backup of the site"),
        ("policy.yaml", "policy", "copy policy.yaml from a backup of the site"),
        ("people/ops-1.pub", "policy", "copy the file of the public key from a backup of the site"),
    ],
)
def test_a_lost_file_of_a_person_is_named_with_the_way_back(site: Place, name: str, item: str, words: str) -> None:
    with broken(site.path / name, "missing"):
        done = run(site.path, item)
    assert done.exit_code == 6
    assert f"error: {site.path / name}: the file is missing\n" in done.output
    assert words in done.output


def reviewed(path: Path, item: str) -> list[list[str]]:
    """The findings of the review: level, id and text of each."""
    done = CliRunner().invoke(review_command, [item, "--json", "--site", str(path)])
    findings: list[list[str]] = json.loads(done.stdout)["findings"]
    return findings


def blob_path(site: Place, data: bytes) -> Path:
    return site.path / "store" / "blobs" / "sha256" / digest_of(data)[7:]


def test_a_review_says_first_that_the_running_generation_could_not_be_restored(site: Place) -> None:
    """Before people agree, and not when the install refuses it."""
    assert reviewed(site.path, "r-1.2.0")[0][1] != "way-back"
    with broken(blob_path(site, SECOND.service["hello.txt"]), "missing"):
        level, finding, text = reviewed(site.path, "r-1.2.0")[0]
        queue = run(site.path, "review").stdout
    assert (level, finding) == ("warning", "way-back")
    assert "a rollback to generation 2 (1.1.0) would fail: 1 blob is missing or damaged" in text
    assert "receive the bundle of small 1.1.0 again: waybill receive BUNDLE --keep" in text
    assert "site not ready; agreed: operator 1 of 1" in queue
    assert "next: waybill check r-1.2.0" in queue


@pytest.mark.parametrize("name", ["settings.json", "release.json"])
def test_no_approval_is_collected_while_files_of_the_running_generation_are_damaged(site: Place, name: str) -> None:
    path = site.path / "generations" / "2" / name
    with broken(path, "changed"):
        done = run(site.path, "r-1.2.0")
    assert done.exit_code == 7
    assert f"error: {path}: " in done.output
    assert "hint: run `waybill recover`" in done.output


def test_a_rollback_that_lacks_blobs_is_not_offered(site: Place) -> None:
    assert "waybill rollback --to 1" in run(site.path, "b-1").stdout
    with broken(blob_path(site, FIRST.service["hello.txt"]), "missing"):
        level, finding, text = reviewed(site.path, "b-1")[0]
        queue = run(site.path, "review").stdout
    assert (level, finding) == ("warning", "blobs-missing")
    assert "receive the bundle of small 1.0.0 again" in text
    assert "waybill rollback" not in queue
    assert "b-1: 1 blob is missing or damaged" in queue


def test_documents_that_only_people_read_keep_no_install_from_its_way_back(site: Place) -> None:
    release = SECOND.release()[0]
    assert release.notes is not None
    for blob in (release.notes, *release.advisories, release.contract):
        with broken(site.path / "store" / "blobs" / "sha256" / blob.digest[7:], "missing"):
            assert "way-back" not in [finding for _, finding, _ in reviewed(site.path, "r-1.2.0")]
