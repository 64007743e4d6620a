"""What a site lacks is found before people agree: all at once, by review, check, dry run and install."""

import json
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from manifests.documents import release as r
from manifests.words.errors import HostError, RefusedError, WaitingError, WaybillError
from tests.faults.model import QuickDisk
from tests.migrating import migrating, step
from tests.place import ENDPOINTS, Place, make_place
from tests.vendor import Vendor
from verifier.approval.items import approvable_of
from verifier.approval.queue import queue_text, waiting_data, waiting_items
from verifier.approval.review import make_review
from verifier.approval.review_input import read_review_input
from verifier.approval.review_page import agreement_section, make_review_page
from verifier.approval.verdicts import approval_status
from verifier.change.route import plan_change
from verifier.change.site_check import check_site, lines_to_add, require_site
from verifier.commands.check import check_command
from verifier.commands.install import install_command
from verifier.install.context import Programs
from verifier.runtime.drivers.driver import load_driver
from verifier.runtime.setup import SetupFinding
from verifier.site.disk import Space

PROBE = r.Probe(name="up", http=r.HttpProbe(endpoint="ready", path="/", status=200))
APP = r.InstallStep(step="app", driver="files", files=("service",))
IMAGES = r.InstallStep(step="images", driver="registry", images=("api",))


def vendor(*steps: r.InstallStep, probes: tuple[r.Probe, ...] = (PROBE,)) -> Vendor:
    return Vendor(change={"install": steps or (APP,), "probes": probes})


def place_with(folder: Path, made: Vendor) -> Place:
    place = make_place(folder / "place", Vendor(), disk=QuickDisk())
    place.receive(made.write(folder / "1.tar"))
    return place


def edit(place: Place, old: str, new: str) -> None:
    yaml = place.path / "site.yaml"
    assert old in yaml.read_text()
    yaml.write_text(yaml.read_text().replace(old, new))


def findings_of(place: Place, item: str = "r-1.0.0") -> tuple[SetupFinding, ...]:
    site = place.open()
    return check_site(site, (plan_change(site, item),), load_driver, Programs().check)


def ids(findings: tuple[SetupFinding, ...]) -> list[tuple[str, str]]:
    return [(finding.level, finding.error.finding) for finding in findings]


def call(place: Place, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(check_command, [*words, "--site", str(place.path)], catch_exceptions=False)
    return done.exit_code, done.output


def test_everything_that_is_missing_is_said_at_once_with_the_lines_to_add(tmp_path: Path) -> None:
    service = r.InstallStep(step="app", driver="files", files=("service",), keep_running=("no-such-program",))
    place = place_with(tmp_path, vendor(IMAGES, service))
    edit(place, "files: {root: srv}", 'files: {root: srv, user: "no-such-account"}')
    findings = findings_of(place)
    assert {finding.error.finding for finding in findings} == {
        "driver-missing",
        "endpoint-missing",
        "program-missing",
        "refused",
    }
    assert any("no account 'no-such-account'" in finding.text for finding in findings)
    assert lines_to_add(findings) == (
        "drivers:",
        "  registry:",
        "    endpoint: FILL-IN",
        "  files:",
        "    programs:",
        "      no-such-program: FILL-IN",
        "endpoints:",
        "  ready: FILL-IN",
    )


def test_check_prints_all_of_it_and_ends_as_refused(tmp_path: Path) -> None:
    place = place_with(tmp_path, vendor(IMAGES, APP))
    code, text = call(place)
    assert code == 5
    assert "r-1.0.0: 2 missing" in text
    assert "failed: site.yaml has no endpoint 'ready', which the probe 'up' asks" in text
    assert "add to site.yaml, and replace each FILL-IN:" in text
    code, text = call(place, "r-1.0.0", "--json")
    result = json.loads(text)
    assert code == 5
    (item,) = result["items"]
    assert [(finding["level"], finding["finding"]) for finding in item["findings"]] == [
        ("failed", "driver-missing"),
        ("failed", "endpoint-missing"),
    ]
    assert item["findings"][1]["add"] == ["endpoints:", "  ready: FILL-IN"]


def test_check_is_content_with_a_site_that_has_everything(tmp_path: Path) -> None:
    place = place_with(tmp_path, vendor())
    edit(place, ENDPOINTS, 'endpoints: {ready: "http://127.0.0.1:9"}')
    assert call(place, "r-1.0.0") == (0, "r-1.0.0: nothing is missing\n")
    code, text = call(place)
    assert (code, text.startswith("r-1.0.0: nothing is missing\nthe site: ")) == (0, True)


def test_an_item_without_a_plan_is_a_finding(tmp_path: Path) -> None:
    place = place_with(tmp_path, vendor())
    edit(place, "reserve:", "reserv:")
    code, text = call(place, "r-1.0.0")
    assert (code, "reserv" in text) == (5, True)


def test_an_endpoint_of_another_kind(tmp_path: Path) -> None:
    place = place_with(tmp_path, vendor())
    edit(place, ENDPOINTS, 'endpoints: {ready: "tcp://127.0.0.1:9"}')
    assert ids(findings_of(place)) == [("failed", "endpoint-kind")]


def test_install_refuses_before_the_first_write_and_spends_no_approval(tmp_path: Path) -> None:
    place = place_with(tmp_path, vendor(IMAGES, APP))
    edit(place, "files: {root: srv}", "files: {root: srv}\n  registry: {endpoint: 127.0.0.1:1}")
    place.approve("r-1.0.0")
    before = place.open().state.last_change
    with pytest.raises(RefusedError, match=r"2 things are missing here: .*endpoint 'ready'"):
        place.install("r-1.0.0")
    site = place.open()
    assert (site.state.last_change, site.state.installs.transaction) == (before, None)
    assert approval_status(site, approvable_of(site, ("r-1.0.0",))).met


def test_one_missing_thing_is_refused_by_its_own_name(tmp_path: Path) -> None:
    place = place_with(tmp_path, vendor())
    place.approve("r-1.0.0")
    with pytest.raises(RefusedError) as caught:
        place.install("r-1.0.0")
    assert caught.value.finding == "endpoint-missing"


def test_a_dry_run_makes_every_look_without_approvals(tmp_path: Path) -> None:
    place = place_with(tmp_path, vendor())

    def dry_run() -> tuple[int, str]:
        words = ["r-1.0.0", "--dry-run", "--site", str(place.path)]
        done = CliRunner().invoke(install_command, words, catch_exceptions=False)
        return done.exit_code, done.output

    code, text = dry_run()
    assert code == RefusedError.exit_code
    assert "site.yaml has no endpoint 'ready'" in text
    assert "not yet: " in text  # the approvals that are missing besides
    edit(place, ENDPOINTS, 'endpoints: {ready: "http://127.0.0.1:9"}')
    code, text = dry_run()
    assert code == WaitingError.exit_code
    assert "new blobs: " in text  # the space was counted all the same
    place.approve("r-1.0.0")
    code, text = dry_run()
    assert code == 0
    assert text.startswith("would fit: generation 1, small 1.0.0\nnothing is installed yet\n")
    assert place.open().state.installs.transaction is None


def test_review_shows_a_release_whole_and_what_is_missing_first(tmp_path: Path) -> None:
    place = place_with(tmp_path, vendor(IMAGES, APP))
    site = place.open()
    asked = approvable_of(site, ("r-1.0.0",))
    review = make_review(read_review_input(site, asked, load_driver))
    assert [(level, name) for level, name, _ in review.findings[:2]] == [
        ("warning", "driver-missing"),
        ("warning", "endpoint-missing"),
    ]
    page = make_review_page(review, agreement_section(asked, approval_status(site, asked)))
    warnings = next(section for section in page.sections if section.title == "warnings")
    assert warnings.lines[0].startswith("failed: step 'images' needs the driver 'registry'")
    assert any("cannot be planned: step 'images' needs the driver" in line for line in review.work)
    assert any("put 2 files into" in line for line in review.work)


def test_missing_accounts_of_migrations_are_seen_before(tmp_path: Path) -> None:
    made = migrating("1.0.0", 1, step("first", 1))
    place = place_with(tmp_path, made)
    assert ("failed", "sandbox-account") in ids(findings_of(place))
    assert "    user: FILL-IN" in lines_to_add(findings_of(place))


def test_a_medium_that_is_gone_and_a_full_disk(tmp_path: Path) -> None:
    place = place_with(tmp_path, vendor(probes=()))
    (tmp_path / "1.tar").unlink()
    assert ids(findings_of(place)) == [("warned", "medium-missing")]
    place.disk = FullDisk()
    assert ids(findings_of(place)) == [("failed", "space"), ("warned", "medium-missing")]


def test_the_list_says_that_the_site_is_not_ready_and_offers_no_install(tmp_path: Path) -> None:
    place = place_with(tmp_path, vendor(IMAGES, APP, probes=()))
    (waiting,) = waiting_items(place.open())
    text = queue_text((waiting,), place.clock.host().now())
    assert "site not ready; waits: operator 0 of 1" in text
    assert "r-1.0.0: step 'images' needs the driver 'registry'" in text
    assert text.endswith("next: waybill check r-1.0.0")
    assert waiting_data(waiting)["lacks"] == list(waiting.lacks)
    edit(place, "files: {root: srv}", "files: {root: srv}\n  registry: {endpoint: 127.0.0.1:1}")
    place.approve("r-1.0.0")
    (waiting,) = waiting_items(place.open())
    assert (waiting.lacks, waiting.then.startswith("install r-1.0.0")) == ((), True)


class FullDisk(QuickDisk):
    def space(self, path: Path) -> Space:
        return replace(super().space(path), bytes=1)


def test_another_account_than_the_sites_may_lack_rights_that_the_install_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = place_with(tmp_path, vendor(APP, probes=()))
    edit(place, "files: {root: srv}", 'files: {root: srv, user: "daemon"}')
    monkeypatch.setattr(os, "geteuid", lambda: place.path.stat().st_uid + 4711)
    site = place.open()
    findings = check_site(site, (plan_change(site, "r-1.0.0"),), load_driver)
    assert [finding.level for finding in findings] == ["warned"]
    assert "only root can run a service as 'daemon'" in findings[0].text


class Handler(BaseHTTPRequestHandler):
    """A registry without TLS that has nothing; with ``closed`` it knows nobody."""

    closed = False

    def do_HEAD(self) -> None:
        self.send_response(401 if self.closed else 404)
        if self.closed:
            self.send_header("WWW-Authenticate", 'Basic realm="here"')
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def registry() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def registry_findings(tmp_path: Path, settings: str) -> tuple[SetupFinding, ...]:
    place = place_with(tmp_path, vendor(IMAGES, APP, probes=()))
    edit(place, "files: {root: srv}", f"files: {{root: srv}}\n  registry: {{{settings}}}")
    return findings_of(place)


def test_a_registry_that_speaks_plain_http(tmp_path: Path, registry: str) -> None:
    findings = registry_findings(tmp_path, f"endpoint: '{registry}'")
    assert ids(findings) == [("failed", "registry-tls")]
    assert lines_to_add(findings) == ("drivers:", "  registry:", "    plain_http: true")


def test_a_registry_that_answers(tmp_path: Path, registry: str) -> None:
    assert registry_findings(tmp_path, f"endpoint: '{registry}', plain_http: true") == ()


def test_a_registry_that_does_not_know_this_login(
    tmp_path: Path, registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Handler, "closed", True)
    (finding,) = registry_findings(tmp_path, f"endpoint: '{registry}', plain_http: true")
    assert isinstance(finding.error, WaybillError)
    assert "credentials" in finding.text or "login" in finding.text
    assert f"(image api at {registry}/small/api)" in finding.text


def test_a_registry_that_is_not_there_and_a_login_that_is_not_there(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        findings = registry_findings(tmp_path / "a", f"endpoint: '{address}'")
        assert ids(findings) == [("failed", "registry-unreachable")]
        with pytest.raises(HostError) as caught:
            require_site(findings, "r-1.0.0")
        assert f"image api at {address}/" in str(caught.value)
        with pytest.raises(RefusedError, match=rf"image api at {address}/\S+: the registry does not accept"):
            require_site((*findings, *findings), "r-1.0.0")
    settings = "endpoint: '127.0.0.1:1', login: {secret: 'file:secrets/registry.json'}"
    (finding,) = registry_findings(tmp_path / "b", settings)
    assert isinstance(finding.error, HostError)
    assert "secrets/registry.json" in finding.text
