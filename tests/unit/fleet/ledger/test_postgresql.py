"""The same ledger in PostgreSQL: same code, same migrations, same findings."""

import inspect
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, make_url, text

from fleet.intake.intake import import_paths
from fleet.ledger.opening import find_fleet, open_fleet
from fleet.ledger.tables import metadata
from fleet.outgoing.enrol import enroll, pin_root
from fleet.outgoing.views import count_quarantined, list_sites, show_site
from manifests.documents.enrolment import verify_enrolment
from manifests.words.errors import RefusedError
from tests.unit.fleet.outgoing import test_consign, test_offboard
from tests.unit.fleet.reporter import Reporter
from tests.unit.fleet.rules import test_first_policy, test_resolve
from tests.vendor import Vendor

NOW = datetime(2026, 6, 1, tzinfo=UTC)
ONE = Vendor(version="1.0.0", sequence=1)
TWO = Vendor(version="1.1.0", sequence=2)


# What the verbs promise on SQLite, they promise here: the very tests, on a database of its own each.
VERBS: tuple[Callable[..., None], ...] = (
    test_consign.test_thirty_sites_on_one_medium,
    test_consign.test_what_a_note_says,
    test_consign.test_a_lost_number_breaks_nothing_and_nothing_is_overwritten,
    test_consign.test_an_echo_makes_an_interval,
    test_consign.test_a_forked_site_gets_no_acknowledgement,
    test_offboard.test_up_the_ladder,
    test_offboard.test_a_later_report_is_kept_and_an_alarm,
    test_offboard.test_what_the_contract_says_is_deleted_then_and_not_before,
    test_resolve.test_a_copied_folder_is_settled_by_a_person,
    test_resolve.test_a_restored_backup_renews_its_key,
    test_resolve.test_quarantine_has_two_ways_out,
    test_resolve.test_an_alarm_that_was_looked_into,
    test_first_policy.test_a_journal_that_begins_anew_is_found_at_home,
    test_first_policy.test_a_renewal_does_not_make_it_good,
    test_first_policy.test_without_a_stated_one_reports_are_compared_with_each_other,
    test_first_policy.test_sites_lists_the_worst_first,
)


def database(url: str, name: str) -> str:
    """A new one on the same server; its URL."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    engine.dispose()
    return make_url(url).set(database=name).render_as_string(hide_password=False)


@pytest.mark.parametrize("verb", VERBS, ids=lambda one: one.__name__)
def test_a_verb_on_postgresql(verb: Callable[..., None], url: str, tmp_path: Path) -> None:
    own = database(url, verb.__name__[:60])
    wanted = inspect.signature(verb).parameters
    have: dict[str, Any] = {"tmp_path": tmp_path}
    if "home" in wanted:
        have["home"] = test_resolve.Home(tmp_path, own)
        if "place" in wanted:
            have["place"] = test_resolve.settled(tmp_path, have["home"])
    else:
        have["engine"] = open_fleet(find_fleet(own, {}, tmp_path, create=True))
        pin_root(have["engine"], test_consign.ROOT_ONE, NOW)
        if "site" in wanted:
            have["site"] = test_offboard.known(have["engine"], tmp_path)
    try:
        verb(**{name: have[name] for name in wanted})
    finally:
        if "engine" in have:
            have["engine"].dispose()


def test_the_loop_on_postgresql(url: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="empty or missing"):
        open_fleet(find_fleet(url, {}, tmp_path))
    engine = open_fleet(find_fleet(url, {}, tmp_path, create=True))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    site = Reporter(root=ONE.pin())
    enroll(engine, verify_enrolment(site.enrolment), NOW, fingerprint=None)
    medium = tmp_path / "medium"
    medium.mkdir()
    ONE.write(medium / "1.tar")
    TWO.write(medium / "2.tar")
    files = [site.report(), site.report(ONE), site.report(TWO)]
    clone = site.clone()
    clone.made_at = "2026-05-30T00:00:00Z"
    files += [site.report(), clone.report(ONE), Reporter(site="a/b/c/d").report(), files[0][:-10]]
    for i, raw in enumerate(files):
        (medium / f"{i}.json").write_bytes(raw)
    done = import_paths(engine, (medium,), NOW)
    assert done.counts == {"release": 2, "report": 5, "quarantined": 2}
    assert import_paths(engine, (medium,), NOW).counts == {"known": 7, "quarantined": 2}
    row = list_sites(engine)[0]
    assert row.newest is not None
    assert (row.seq, row.forked_at, row.missing, row.newest.known) == (4, 4, 0, True)
    assert count_quarantined(engine) == 2
    assert [one.kind for one in show_site(engine, "east").history if one.kind == "fork"] == ["fork"]
    open_fleet(find_fleet(url, {}, tmp_path)).dispose()
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM reports")).scalar_one() == 5
    engine.dispose()
