"""What a site says about the sources of a contract: when it is made, before an install, on a change, in its status."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from manifests.words.errors import UsageError
from tests.counting import CountingVendor, make_counting
from tests.place import ENDPOINTS, make_place
from verifier.change.route import plan_change
from verifier.change.site_check import check_site
from verifier.commands.status import status_command
from verifier.intake.enrolment import read_offer
from verifier.intake.enrolment_files import site_yaml
from verifier.intake.enrolment_questions import questions_of
from verifier.reporting.collectors import collectors_data, collectors_lines, collectors_state
from verifier.rules.change_kinds import lets_more_leave
from verifier.runtime.drivers.driver import load_driver
from verifier.site.generations import read_running

VENDOR = CountingVendor()


def test_enrol_proposes_the_endpoints_of_the_contract(tmp_path: Path) -> None:
    offer = read_offer(VENDOR.write(tmp_path / "offer.tar"), VENDOR.pin().digest, None)
    text = site_yaml("northern-grid/small/production/east", offer, "30d")
    assert "metrics: FILL-IN, product_log: FILL-IN, spans: FILL-IN" in text
    assert "# product_log: for the signal errors, file:/PATH or container:/PATH" in text
    asked = {question.setting: question for question in questions_of(offer)}
    assert asked["endpoints.product_log"].write("container:/var/log/0.log") == '"container:/var/log/0.log"'
    assert asked["endpoints.metrics"].write("https://127.0.0.1/metrics") == '"https://127.0.0.1/metrics"'
    for setting, answer in (("endpoints.product_log", "https://a"), ("endpoints.spans", "journal:x")):
        with pytest.raises(UsageError, match="is of another form"):
            asked[setting].write(answer)


def test_what_is_missing_or_of_another_form_is_a_warning(tmp_path: Path) -> None:
    place = make_place(tmp_path / "place", VENDOR)
    place.receive(VENDOR.write(tmp_path / "1.tar"))
    yaml = place.path / "site.yaml"
    named = 'endpoints: {metrics: "tcp://127.0.0.1:1", spans: "file:/var/spans"}'
    yaml.write_text(yaml.read_text().replace(ENDPOINTS, named) + "telemetry: {withhold: [intake_time]}\n")
    site = place.open()
    findings = check_site(site, (plan_change(site, "r-1.0.0"),), load_driver)
    assert [(finding.level, finding.error.finding, finding.error.problem) for finding in findings] == [
        (
            "warned",
            "endpoint-kind",
            "the signal 'requests' is read from http://HOST:PORT or https://HOST:PORT or file:/PATH, "
            "the endpoint 'metrics' is tcp://127.0.0.1:1",
        ),
        (
            "warned",
            "endpoint-missing",
            "site.yaml has no endpoint 'product_log', which the signal 'errors' of the contract is read from",
        ),
    ]


def test_another_address_of_a_log_lets_more_leave(tmp_path: Path) -> None:
    counting = make_counting(tmp_path)
    installed = read_running(counting.place.open())
    assert installed is not None
    endpoints = {**installed.settings.endpoints, "product_log": "file:/var/log/auth.log"}
    changed = replace(installed.settings, endpoints=endpoints)
    more = lets_more_leave(installed.settings, changed, counting.vendor.contract())
    assert more == ("endpoint product_log feeds errors",)


def test_the_status_says_when_a_run_is_due_and_what_failed(tmp_path: Path) -> None:
    counting = make_counting(tmp_path, endpoints={"metrics": "tcp://127.0.0.1:9"})
    clock = counting.place.clock

    def lines() -> list[str]:
        return collectors_lines(collectors_state(counting.place.open()), clock.at)

    assert lines() == ["collected  not every source was looked at yet, 3 signals, due every 5m: run `waybill collect`"]
    counting.collect()
    assert lines() == ["collected  0s ago, 3 signals", "           requests: source-unreadable"]
    clock.at += timedelta(minutes=6)
    assert lines()[0] == "collected  6m ago, 3 signals, due every 5m: run `waybill collect`"
    (counting.place.path / "telemetry" / "errors.json").write_bytes(b"alice")
    assert lines()[1:] == ["           errors: unreadable", "           requests: source-unreadable"]
    done = CliRunner().invoke(status_command, ["--site", str(counting.place.path), "--fast", "--json"])
    problems = {"errors": "unreadable", "requests": "source-unreadable"}
    assert json.loads(done.stdout)["collectors"]["problems"] == problems
    assert collectors_data(None, clock.at) is None
