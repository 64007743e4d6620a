"""A journal computed anew from its beginning, with a stranger among the people of the first policy: found at home.

Root on the host has the site's key, so every step here is signed as the program would sign it.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from fleet.commands.group import fleet_group
from manifests.documents import report as r
from manifests.documents.enrolment import Enrolment, sign_enrolment, verify_enrolment
from manifests.documents.signed_report import peek_report
from manifests.trust.private_keys import generate_key
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from manifests.words.errors import UntrustedError
from tests.place import Place
from tests.unit.fleet.reporter import Reporter
from tests.unit.fleet.rules.test_resolve import EAST, Home, settled, write
from verifier.documents.site import judge_report
from verifier.documents.values import DocumentJudge
from verifier.reporting.key_change import renew_key
from verifier.reporting.status import read_status
from verifier.site.journal.checkpoint import segments
from verifier.site.lock import hold_site

FINDING = "first-policy-differs"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    yield Home(tmp_path)


def begin_anew(place: Place, *, enrolment: bool) -> None:
    """Replace the people of the first policy by a stranger, and compute every later entry anew.

    With ``enrolment`` the site's own copies of its enrolment are signed again for that policy, and the reports in the
    outbox, which name entries of the true journal, are removed.
    """
    place.people["eve"] = stranger = generate_key()
    site = place.open()
    true = site.policy
    mine = replace(true, people={"eve": replace(true.people["ops-1"], keys=(stranger.public,))})
    changes = {site.state.trust.policy: site.keep_document(encode(mine))}
    if enrolment:
        digest = site.state.reports.enrolment or ""
        said = verify_enrolment(site.document(digest)).enrolment
        again = sign_enrolment(replace(said, policy=digest_of(encode(mine))), site.signer())
        changes[digest] = site.keep_document(again)
        for path in site.outbox.iterdir():
            path.unlink()
        (site.outbox / "enrolment.json").write_bytes(again)
    (segment,) = segments(place.path / "journal")
    before, lines = digest_of(b""), []
    for number, line in enumerate(segment.read_text().splitlines()):
        # The first two entries: the enrolment and its policy. Plans and approvals stay what they were.
        for old, new in changes.items() if number < 2 else ():
            line = line.replace(old, new)
        fields = json.loads(line) | {"prev": before}
        lines.append(json.dumps(fields, separators=(",", ":"), sort_keys=True, ensure_ascii=False))
        before = digest_of(lines[-1].encode())
    segment.write_text("".join(f"{line}\n" for line in lines))


def test_the_site_compares_its_journal_with_its_enrolment(home: Home, tmp_path: Path) -> None:
    """No report need lie in the outbox: the first policy is not the one that the enrolment names."""
    place = settled(tmp_path, home)
    begin_anew(place, enrolment=False)
    for path in place.open().outbox.glob("*.report.json"):
        path.unlink()
    with pytest.raises(UntrustedError, match="the journal begins with policy") as caught:
        place.approve("r-1.0.0", "eve")
    assert caught.value.finding == "journal-rewritten"
    status = read_status(place.open(), (), None, place.clock.at)
    assert status.text.startswith("! journal: journal-rewritten")


def test_a_journal_that_begins_anew_is_found_at_home(home: Home, tmp_path: Path) -> None:
    """At the site nothing contradicts the stranger; the enrolment that support holds does."""
    place = settled(tmp_path, home)
    begin_anew(place, enrolment=True)
    ordinary = replace(place.open().policy, number=2)
    place.put_policy(ordinary, "eve")
    write(place)
    assert read_status(place.open(), (), None, place.clock.at).error is None
    assert home.take(place, code=14) == [FINDING]
    # Kept and marked, and read by whoever looks.
    row = home.row()
    assert (row["report"], row["alarms"], row["forked_at"]) == (2, 1, None)
    assert row["notes"][0] == "first policy differs"
    (alarm,) = home("list", "alarms", "--site", EAST)["alarms"]
    assert alarm["finding"] == FINDING
    assert "others may approve there" in alarm["text"]
    # Every later report says so again, until the site is what it was.
    write(place, later=60)
    assert home.take(place, code=14) == [FINDING]
    for alarm in home("list", "alarms", "--site", EAST)["alarms"]:
        home("resolve", EAST, "--alarm", str(alarm["alarm"]), "--reason", "the host is replaced")
    assert "first policy differs" not in home.row()["notes"]


def test_a_renewal_does_not_make_it_good(home: Home, tmp_path: Path) -> None:
    place = settled(tmp_path, home)
    begin_anew(place, enrolment=True)
    with hold_site(place.path, place.disk, place.clock.host(), "test", any_key=True) as site:
        renewed = renew_key(site, "host-replaced").enrolment
    assert renewed is not None
    done = home("enroll", str(renewed), code=14)
    assert done["error"]["finding"] == FINDING
    assert done["policy"]["differs_from"] not in (None, done["policy"]["first"])
    home("resolve", EAST, "--accept", done["enrolment"], "--reason", "believed on the telephone")
    write(place)
    assert FINDING in home.take(place, code=14)


def test_an_honest_renewal_keeps_the_first_policy(home: Home, tmp_path: Path) -> None:
    place = settled(tmp_path, home)
    place.put_policy(replace(place.open().policy, number=2))
    with place.hold() as site:
        renewed = renew_key(site, "key-lost").enrolment
    assert renewed is not None
    done = home("enroll", str(renewed), code=14)
    assert done["error"]["finding"] == "renewal-waits"
    assert done["policy"]["differs_from"] is None
    home("resolve", EAST, "--accept", done["enrolment"], "--reason", "compared on the telephone")
    write(place)
    assert home.take(place) == []


# --- sites in memory ------------------------------------------------------------------------------------------------

ONE, OTHER = digest_of(b"first"), digest_of(b"another")


class Stating(Reporter):
    """A site whose enrolment names its first policy."""

    @property
    def enrolment(self) -> bytes:
        said: Enrolment = verify_enrolment(super().enrolment).enrolment
        return sign_enrolment(replace(said, policy=ONE), self.signer)


def brought(home: Home, site: Reporter, *firsts: str | None, code: int = 0) -> list[str]:
    """The findings of one import of reports that name these first policies."""
    home.media += 1
    medium = home.folder / f"medium-{home.media}"
    medium.mkdir()
    for first in firsts:
        said = r.PolicyState(number=1, digest=digest_of(b"policy"), first=first)
        raw = site.report(policy=said)
        (medium / f"{peek_report(raw, 'report').chain.seq}.json").write_bytes(raw)
    return home.findings(home("import", str(medium), code=code))


def enrolled(home: Home, site: Reporter) -> Reporter:
    path = home.folder / f"{site.site.replace('/', '.')}.json"
    path.write_bytes(site.enrolment)
    home("enroll", str(path))
    return site


def test_a_report_that_states_no_first_policy_differs_too(home: Home) -> None:
    site = enrolled(home, Stating())
    assert brought(home, site, ONE) == []
    assert brought(home, site, None, code=14) == [FINDING]


def test_without_a_stated_one_reports_are_compared_with_each_other(home: Home) -> None:
    """An enrolment of an earlier program states none: the first report that does is the measure."""
    site = enrolled(home, Reporter())
    assert brought(home, site, None, None) == []
    assert brought(home, site, ONE, ONE) == []
    assert brought(home, site, OTHER, code=14) == [FINDING]
    assert brought(home, site, None, code=14) == [FINDING]


def test_sites_lists_the_worst_first(home: Home) -> None:
    for name in ("a", "b", "z"):
        site = enrolled(home, Stating(site=f"northern-grid/small/production/{name}"))
        brought(home, site, OTHER if name == "z" else ONE, code=14 if name == "z" else 0)
    found = CliRunner().invoke(fleet_group, ["sites", "--fleet", home.fleet], catch_exceptions=False)
    rows = [line.split()[0] for line in found.stdout.splitlines()[3:]]
    assert rows[-3:] == ["z", "a", "b"]
    assert "1 first policy differs" in found.stdout.splitlines()[0]
    page = CliRunner().invoke(fleet_group, ["show", "z", "--fleet", home.fleet], catch_exceptions=False)
    assert page.stdout.splitlines()[1].startswith("! its reports name another first policy than its enrolment")


def test_verify_with_the_enrolment_compares_it(home: Home, tmp_path: Path) -> None:
    site = Stating()
    path = tmp_path / "enrolment.json"
    path.write_bytes(site.enrolment)
    good, wrong = (
        site.report(policy=r.PolicyState(number=1, digest=digest_of(b"policy"), first=first)) for first in (ONE, OTHER)
    )
    judge = DocumentJudge(anchor=None, site=None, enrolment=path)
    assert judge_report(good, judge, "good.json").signers
    with pytest.raises(UntrustedError, match="its journal begins with policy") as caught:
        judge_report(wrong, judge, "wrong.json")
    assert caught.value.finding == FINDING
