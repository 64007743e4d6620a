"""Laws of what a site says of itself, for walks over its life: each status and report is held against the world.

The model of the walk knows what it did (`Truth`), the folder shows the rest; see ``tests.claims``. Whether an item is
agreed, and where a rollback goes, is tried on a copy of the site.
"""

import json
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from console.screen import fit
from manifests.words.canonical import encode
from manifests.words.errors import WaitingError, WaybillError
from tests.claims import Truth, check_report, check_report_content, check_status, generation_that_runs, sha256
from tests.claims_journal import check_journal_claims, check_report_trust
from tests.place import NAMES, Place
from tests.typed import follow, typed
from verifier.approval.queue import waiting_items
from verifier.change.driver_steps import observe
from verifier.reporting.health import measure_health
from verifier.reporting.report_observe import observe_site, read_previous_report
from verifier.reporting.report_plan import plan_report
from verifier.reporting.report_write import write_report
from verifier.reporting.status import SiteStatus, read_status
from verifier.runtime.drivers.driver import load_driver


def release_json(bundle: Path) -> bytes:
    with tarfile.open(bundle) as packed:
        member = packed.extractfile("release.json")
        assert member is not None
        return member.read()


def release_digest(bundle: Path) -> str:
    return sha256(release_json(bundle))


class SiteClaims(RuleBasedStateMachine):
    """Attributes: runs, floor, mark: sequences, 0 for none; releases: digest of release.json by version."""

    place: Place
    runs: int
    floor: int
    mark: int
    releases: dict[str, str]

    def truth(self) -> Truth:
        return Truth(
            site=NAMES.site,
            version=f"1.{self.runs}.0" if self.runs else None,
            sequence=self.runs,
            floor=self.floor or None,
            mark=self.mark or None,
            releases=self.releases,
            steps={"app": "placed"} if self.runs else {},
            probes={"up": self.place.health.get("up", "passing")} if self.runs else {},
        )

    def now(self) -> datetime:
        return self.place.clock.at.replace(microsecond=0)

    def status(self) -> SiteStatus:
        site, now = self.place.open(), self.place.clock.at
        health = measure_health(site, load_driver, now, self.place.look)
        status = read_status(site, waiting_items(site), observe(site, load_driver), now, health=health)
        return replace(status, text=fit(status.text, None, verbose=True))

    @contextmanager
    def copied(self) -> Iterator[Place]:
        """A copy of the site, to try there what its status says."""
        with tempfile.TemporaryDirectory(dir=self.place.path.parent) as name:
            shutil.copytree(self.place.path, Path(name) / "site", symlinks=True)
            yield replace(self.place, path=Path(name) / "site", health={}, said=[], told=[])

    @invariant()
    def the_status_is_true(self) -> None:
        if not hasattr(self, "place"):
            return
        status = self.status()
        check_status(self.place.path, status.data, status.text, self.truth())
        check_journal_claims(self.place.path, status.data, status.text, self.now())

    @invariant()
    def the_next_report_would_be_true(self) -> None:
        if not hasattr(self, "place"):
            return
        site, now = self.place.open(), self.place.clock.at
        observed = observe_site(site, now, self.place.look)
        report = plan_report(site.state, observed, read_previous_report(site), cause="requested", now=now)
        stated = json.loads(encode(report))
        check_report_content(self.place.path, stated, self.truth())
        check_report_trust(self.place.path, stated, self.now())

    @rule()
    def report(self) -> None:
        with self.place.hold() as site:
            write_report(site, site.disk, self.place.clock.at, look=self.place.look)
        report = check_report(self.place.path, self.truth())
        check_report_trust(self.place.path, report, self.now())
        said = self.status().data["waiting"]
        assert isinstance(said, list)
        # A release below the floor cannot be installed, so it does not wait.
        assert all(one["kind"] != "release" or int(one["version"].split(".")[1]) >= self.floor for one in said)
        assert [item["item"] for item in report.get("waiting", [])] == [item["item"] for item in said]

    @rule(data=st.data())
    def agreed_is_what_would_start(self, data: st.DataObject) -> None:
        said = self.status().data["waiting"]
        assert isinstance(said, list)
        releases = [item for item in said if item["kind"] == "release" and not item["problem"]]
        if not releases:
            return
        item = data.draw(st.sampled_from(releases))
        before = generation_that_runs(self.place.path)
        with self.copied() as copy:
            try:
                copy.install(" ".join(item["items"]))
                started = True
            except WaitingError:
                started = False
            if not started:
                assert generation_that_runs(copy.path) == before
        assert started == item["agreed"]

    @rule()
    def next_commands_work(self) -> None:
        """Each command that is offered next, by the list or by the review of an item, works when it is typed."""
        waiting = self.status().data["waiting"]
        assert isinstance(waiting, list)
        for words in ([], *([item["item"]] for item in waiting if not item["problem"])):
            with self.copied() as copy:
                before = generation_that_runs(copy.path)
                done = follow(copy, typed(copy, "review", *words))
                if done and done[-1].words[:1] == ("install",) and done[-1].words[1] != "policy":
                    assert generation_that_runs(copy.path) != before

    @rule()
    def former_is_where_a_rollback_goes(self) -> None:
        former = re.findall(r"(?m)^(\d+) .* former", self.status().text)
        with self.copied() as copy:
            try:
                ended = copy.rollback(person="ops-1")
            except WaybillError:
                return  # the floor or the data forbid it, which the walk itself checks
            assert former == [str(generation_that_runs(copy.path))], ended
