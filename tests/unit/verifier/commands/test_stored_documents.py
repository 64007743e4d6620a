"""One stored document never blinds the rest: each is broken in turn, and every command of the site still answers.

The whole matrix of documents, ways and commands is `python -m tests.stored_matrix`; here is a sample of it.
"""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.faults.model import QuickDisk
from tests.place import Place
from tests.stored import FIRST, SECOND, THIRD, broken, full_site, released_only_by, stored_documents
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
