"""A review names the acts that the machine then begins, in their order, and no others: for every kind of change."""

import contextlib
from pathlib import Path

import pytest

from manifests.words.errors import HostError, RolledBackError
from tests.authorisations import authorisation, bring, carried
from tests.faults.model import QuickDisk
from tests.forecasts import check_begun, check_kept, promise
from tests.migrating import FakePrograms, Migrating, migrating, put_database, step
from tests.place import Place, make_place

A = migrating("1.0.0", 1, step("one", 1))
B = migrating("1.1.0", 2, step("two", 2), step("three", 3))
C = migrating("1.2.0", 3, step("four", 4))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = make_place(tmp_path, A, disk=QuickDisk(), reserve="4KiB")
    made.programs = FakePrograms()
    put_database(made.path)
    return made


def receive(place: Place, vendor: Migrating) -> str:
    item = place.receive(vendor.write(place.path.parent / f"{vendor.version}.tar")).item
    place.approve(item)
    return item


def install(place: Place, vendor: Migrating) -> None:
    assert place.install(receive(place, vendor)).error is None


def test_a_first_install(place: Place) -> None:
    item = receive(place, A)
    promised = promise(place, item)
    assert place.install(item).error is None
    check_kept(place, promised)
    assert "migrate, step one: admin migrate 1" in promised.lines
    assert not any("back up" in line for line in promised.lines), "there is nothing to back up yet"


def test_an_upgrade_with_backup_and_migrations(place: Place) -> None:
    install(place, A)
    item = receive(place, B)
    promised = promise(place, item)
    assert place.install(item).error is None
    check_kept(place, promised)
    kinds = [line.split()[0] for line in promised.lines]
    assert kinds.index("back") < kinds.index("try") < kinds.index("migrate,") < kinds.index("switch")
    assert ("pause", None) in promised.acts


def test_a_rollback_names_what_it_undoes_and_stops_and_nothing_that_it_does_not_do(place: Place) -> None:
    install(place, A)
    install(place, B)
    promised = promise(place, "b-1")
    assert place.rollback(1, person="ops-1").error is None
    check_kept(place, promised)
    undone = [line for line in promised.lines if line.startswith("undo step ")]
    assert [line.split(":")[0] for line in undone] == ["undo step three", "undo step two"]
    assert ("pause", None) in promised.acts
    assert not any(line.startswith("migrate") for line in promised.lines)


def test_a_changed_configuration(place: Place) -> None:
    install(place, A)
    yaml = place.path / "site.yaml"
    yaml.write_text(yaml.read_text().replace("every: 30d", "every: 7d"))
    place.approve("config")
    promised = promise(place, "config")
    assert place.install("config").error is None
    check_kept(place, promised)
    assert not any(line.startswith(("migrate", "back up")) for line in promised.lines)


def test_a_rollback_to_a_former_configuration_runs_nothing_of_the_rollback_document(place: Place) -> None:
    install(place, A)
    install(place, B)
    yaml = place.path / "site.yaml"
    yaml.write_text(yaml.read_text().replace("every: 30d", "every: 7d"))
    place.approve("config")
    assert place.install("config").error is None
    promised = promise(place, "b-2")
    assert place.rollback(2, person="ops-1").error is None
    check_kept(place, promised)
    assert not any("undo" in line for line in promised.lines)


def test_a_rollback_that_restores_a_backup_names_the_backup_and_no_step(place: Place) -> None:
    install(place, A)
    install(place, migrating("1.1.0", 2, step("two", 2, undo=None)))
    promised = promise(place, "b-1")
    assert place.rollback(1, person="ops-1").error is None
    check_kept(place, promised)
    assert ("restore", "database") in promised.acts


def test_several_releases(place: Place) -> None:
    install(place, A)
    for vendor in (B, C):
        place.receive(vendor.write(place.path.parent / f"{vendor.version}.tar"))
    items = "r-1.1.0 r-1.2.0"
    place.approve(items)
    promised = promise(place, items)
    assert place.install(items).error is None
    check_kept(place, promised)
    assert [line for line in promised.lines if line.startswith("switch")] == [
        "switch to generation 2",
        "switch to generation 3",
    ]


def test_a_rollback_below_the_floor(place: Place) -> None:
    install(place, A)
    install(place, migrating("1.1.0", 2, step("two", 2), floor=2))
    target = place.open().state.installs.generation(1)
    assert target is not None
    bring(place, carried(authorisation(target)))
    promised = promise(place, "b-1")
    assert place.rollback(1, person="ops-1").error is None
    check_kept(place, promised)


@pytest.mark.parametrize("fails", ["backup database", "try database", "migrate two", "migrate three"])
def test_what_fails_was_promised_up_to_there(place: Place, fails: str) -> None:
    install(place, A)
    item = receive(place, B)
    promised = promise(place, item)
    assert isinstance(place.programs, FakePrograms)
    place.programs.fails = {fails}
    # Before any change the failure itself is raised.
    with contextlib.suppress(HostError):
        place.install(item)
    assert fails in place.programs.did
    check_begun(place, promised)


def test_a_trial_that_fails_was_promised_up_to_its_probe(place: Place) -> None:
    install(place, A)
    item = receive(place, B)
    promised = promise(place, item)
    place.health["up"] = "failing"
    assert isinstance(place.install(item).error, RolledBackError)
    check_begun(place, promised)


def test_an_item_is_reviewed_while_another_is_on_trial(place: Place) -> None:
    install(place, A)
    trial = migrating("1.1.0", 2, step("two", 2), trial="person")
    item = receive(place, trial)
    place.install(item)
    assert promise(place, receive(place, C)).acts[0] == ("stage", None)
