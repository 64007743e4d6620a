"""A real migration that hangs, is deaf to SIGTERM, forks without end, talks without end, or fills the disk: the whole
machine with the real runner. Whatever it does it is ended, the data go back, and the old release runs.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from manifests.words.errors import InconsistentError, RefusedError, RolledBackError
from tests.faults.crash import problems
from tests.faults.test_full_disk import tmpfs
from tests.migrating import OLD, database, migrating, put_database, step
from tests.place import Place, make_place
from verifier.runtime import migrations
from verifier.runtime.program_files import find_account
from verifier.runtime.sandbox import check_sandbox
from verifier.site.journal.events import Outcome
from verifier.site.journal.installs import State

A = migrating("1.0.0", 1)
B = migrating("1.1.0", 2, step("two", 2))
# An account of this process alone: how many processes it may have is counted over all that run as it.
USER = 1_000_000 + os.getpid() if os.geteuid() == 0 else os.geteuid()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A runs on a file system of its own, B is approved; programs are ended after a second or two."""
    try:
        check_sandbox(find_account(USER, ours=os.geteuid()))
    except RefusedError as error:
        pytest.skip(f"needs {error.finding}")
    monkeypatch.setattr(migrations, "PATIENCE", 1)
    monkeypatch.setattr(migrations, "GRACE_SECONDS", 1)
    with tmpfs(tmp_path / "room", "size=40m") as room:
        for folder in (room, *room.parents):
            if folder != Path("/"):
                folder.chmod(folder.stat().st_mode | 0o011)
        place = make_place(room / "world", A, reserve="8MiB")
        yaml = place.path / "site.yaml"
        yaml.write_text(yaml.read_text().replace("  store: {}", f"  store: {{}}\n  program: {{user: {USER}}}"))
        assert place.bring(A.write(tmp_path / "1.tar")).error is None
        place.approve(place.receive(B.write(tmp_path / "2.tar")).item)
        app = put_database(place.path).parent
        for folder in (place.path.parent, place.path, app.parent, app):
            folder.chmod(0o755)
        for one in (app, *app.iterdir()):
            os.chown(one, USER, -1)
        yield place


def fate(place: Place, word: str) -> None:
    path = database(place.path).with_name("fate")
    path.write_text(word)
    path.chmod(0o644)


def why(place: Place) -> list[str]:
    """How each migration failed, by the journal."""
    events = [entry.record.event for entry in place.open().entries]
    return [one.code or "" for one in events if isinstance(one, Outcome) and one.act == "migrate" and one.code]


def processes() -> list[int]:
    """What still runs as the account of the programs."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and entry.stat().st_uid == USER and os.geteuid() != USER:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("hang", "step-timed-out"),
        ("deaf", "step-timed-out"),
        ("fork", "step-failed"),
        ("loud", "step-output-too-long"),
        ("fill", "step-failed"),
    ],
)
def test_it_is_ended_and_the_old_release_runs_with_its_data(place: Place, word: str, code: str) -> None:
    fate(place, word)
    ended = place.install("r-1.1.0")
    assert isinstance(ended.error, RolledBackError)
    assert why(place) == [code]
    assert processes() == []
    assert database(place.path).read_bytes() == OLD
    state = place.open().state
    assert state.installs.current == 1
    assert state.installs.transaction is not None
    assert state.installs.transaction.state == State.ROLLED_BACK
    assert problems(place) == ""
    # The next try, once it behaves, is another plan that needs another word.
    fate(place, "")
    (database(place.path).parent / "big").unlink(missing_ok=True)
    place.approve("r-1.1.0")
    assert place.install("r-1.1.0").error is None
    assert database(place.path).read_bytes() == OLD.replace(b"1", b"2", 1)


def test_where_nothing_is_left_for_the_way_back_either_a_person_makes_room(place: Place) -> None:
    """The data lie on a file system of their own, so the reserve is no help there: said so, and finished when asked."""
    data = place.path / "data"
    kept = shutil.copytree(data, place.path.parent / "kept")
    shutil.rmtree(data)
    with tmpfs(data, "size=128k"):
        shutil.copytree(kept, data, dirs_exist_ok=True)
        for one in (data / "app", *(data / "app").iterdir()):
            os.chown(one, USER, -1)
        data.chmod(0o755)
        fate(place, "fill")
        with pytest.raises(InconsistentError) as caught:
            raise place.install("r-1.1.0").error or AssertionError
        assert caught.value.exit_code == 12
        # Neither half: what could not be replaced was left as it was.
        assert database(place.path).read_bytes() == OLD
        (data / "app" / "big").unlink()
        fate(place, "")
        assert isinstance(place.recover()[1].error, RolledBackError)
        assert database(place.path).read_bytes() == OLD
        assert place.open().state.installs.current == 1
        assert problems(place) == ""
