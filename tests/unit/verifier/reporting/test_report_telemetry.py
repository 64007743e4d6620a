"""Telemetry beside real reports: bound by digest, previewed to the byte, carried by file, and never in the way."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manifests.documents.report import Report
from manifests.documents.signed_report import verify_report
from manifests.documents.telemetry import HandlerResult, Telemetry, TelemetryRow, parse_telemetry
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from tests.counting import SIGNALS, Counting, CountingVendor, make_counting
from verifier.commands.collect import collect_command
from verifier.commands.report import report_command
from verifier.commands.status import status_command
from verifier.reporting.report_write import plan_next_report, write_report
from verifier.site.disk import Disk

T = TypeVar("T")
MOMENTS = (
    SIGNALS
    + """\
  - name: api
    kind: health
    from: {step: app}
    fields: {state: {enum: [passing, failing, unknown]}}
    why: health
  - name: selftest
    kind: command-result
    from: {handler: selftest}
    fields: {verdict: {enum: [ok, bad]}, checks: {integer: [0, 100]}}
    why: results
"""
)


@pytest.fixture
def counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counting:
    counting = make_counting(tmp_path, CountingVendor(signals=MOMENTS))
    monkeypatch.setattr("verifier.commands.report.utc_now", lambda: counting.place.clock.at)
    monkeypatch.setattr("verifier.commands.collect.utc_now", lambda: counting.place.clock.at)
    counting.collect()
    append(counting, b"code=E1\ncode=E2\ncode=E2\n")
    counting.collect()
    counting.collect(minutes=5)
    return counting


def append(counting: Counting, data: bytes) -> None:
    with counting.log.open("ab") as file:
        file.write(data)


def write(counting: Counting, disk: Disk | None = None) -> tuple[Report, Telemetry | None]:
    """Write a report; return it and its telemetry, whose digest is the report's."""
    place = counting.place
    with place.hold() as site:
        path = write_report(site, disk or Disk(), place.clock.at, look=place.look)
    report = verify_report(path.read_bytes(), place.open().state.site_key).report
    file = path.with_name(f"{report.chain.seq}.telemetry.json")
    if report.chain.telemetry is None:
        assert not file.exists()
        return report, None
    assert report.chain.telemetry.digest == digest_of(file.read_bytes())
    return report, parse_telemetry(file.read_bytes())


def run(counting: Counting, *arguments: str) -> Result:
    return CliRunner().invoke(report_command, ["--site", str(counting.place.path), *arguments])


def rows(telemetry: Telemetry | None, signal: str) -> tuple[TelemetryRow, ...]:
    assert telemetry is not None
    return next((of_signal.rows for of_signal in telemetry.signals if of_signal.signal == signal), ())


def test_the_report_names_the_file_and_the_file_has_the_rows(counting: Counting) -> None:
    report, telemetry = write(counting)
    assert telemetry is not None
    assert (telemetry.seq, telemetry.site) == (report.chain.seq, report.identity.site)
    assert report.policy is not None
    assert telemetry.contract == report.policy.contract
    under_way = [{"code": "E1", "count": 0}, {"code": "E2", "count": 0}]
    finished = [{"code": "E1", "count": 1}, {"code": "E2", "count": 2}]
    assert [row.values for row in rows(telemetry, "errors")] == finished + under_way
    assert [row.values for row in rows(telemetry, "api")] == [{"state": "passing"}]
    assert report.install.release is not None
    assert {row.release for signal in telemetry.signals for row in signal.rows} == {report.install.release.digest}


def test_results_of_handlers_become_rows_and_what_is_none_is_counted(counting: Counting) -> None:
    folder = counting.place.path / "telemetry" / "results"
    folder.mkdir()
    start = "2026-03-01T12:00:00Z"
    good = HandlerResult(signal="selftest", start=start, values={"verdict": "ok", "checks": 12})
    (folder / "1.json").write_bytes(encode(good))
    (folder / "2.json").write_bytes(encode(HandlerResult(signal="selftest", start=start, values={"verdict": "alice"})))
    (folder / "3.json").write_bytes(encode(HandlerResult(signal="users", start=start, values={"verdict": "ok"})))
    (folder / "4.json").write_bytes(b"alice")
    (folder / "5.json").symlink_to(folder / "1.json")
    report, telemetry = write(counting)
    assert [row.values for row in rows(telemetry, "selftest")] == [{"verdict": "ok", "checks": 12}]
    dropped = {(drops.what, drops.reason): drops.count for drops in report.dropped}
    assert dropped == {("selftest", "out-of-bounds"): 1, ("telemetry", "unreadable"): 2}
    # The next run of the collectors removes what may never leave, and leaves what it cannot read to people.
    counting.collect()
    assert sorted(path.name for path in folder.iterdir()) == ["1.json", "2.json", "4.json", "5.json"]
    counting.collect(minutes=91 * 24 * 60)
    assert sorted(path.name for path in folder.iterdir()) == ["4.json", "5.json"]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from([b"code=E1\n", b"code=E2\n", b"alice\n"]), max_size=9), st.integers(0, 12))
def test_what_is_previewed_is_what_is_written(counting: Counting, lines: list[bytes], minutes: int) -> None:
    append(counting, b"".join(lines))
    counting.collect(minutes=minutes)
    place = counting.place
    planned = plan_next_report(place.open(), place.clock.at, cause="requested", look=place.look)
    report, telemetry = write(counting)
    # What the host has free is measured each time.
    assert without_host(planned.report) == without_host(report)
    assert planned.telemetry.raw == (encode(telemetry) if telemetry else b"")


def without_host(report: Report) -> Report:
    return msgspec.structs.replace(report, verifier=msgspec.structs.replace(report.verifier, host=None))


def test_the_command_previews_the_same_bytes(counting: Counting) -> None:
    previewed = json.loads(run(counting, "--preview", "--json").output)
    text = run(counting, "--preview").output
    assert run(counting, "--new").exit_code == 0
    (file,) = (counting.place.path / "outbox").glob("*.telemetry.json")
    assert json.dumps(previewed["telemetry"], sort_keys=True, separators=(",", ":")).encode() == file.read_bytes()
    assert previewed["telemetry_bytes"] == len(file.read_bytes())
    assert json.dumps(previewed["telemetry"], indent=2) in text


def test_the_command_shows_why_and_how_much(counting: Counting) -> None:
    assert "signal errors: failures" in run(counting, "--why").output
    done = run(counting, "--new")
    assert "telemetry  errors: 4 rows, 2026-03-01T12:00:00Z to 2026-03-01T12:05:00Z" in done.output
    why = json.loads(run(counting, "--why", "--json").output)
    assert [(signal["signal"], signal["line"], signal["rows"]) for signal in why["signals"]] == [
        ("requests", "$.signals[1]", 0),
        ("errors", "$.signals[2]", 4),
        ("intake_time", "$.signals[3]", 2),
        ("api", "$.signals[4]", 1),
        ("selftest", "$.signals[5]", 0),
    ]


def test_it_travels_as_a_file_and_other_ways_say_so(counting: Counting, tmp_path: Path) -> None:
    run(counting, "--new")
    medium = tmp_path / "medium"
    medium.mkdir()
    done = json.loads(run(counting, "--out", str(medium), "--json").output)
    assert [Path(name).name for name in done["copied"]] == [
        "northern-grid.small.production.east.1.report.json",
        "northern-grid.small.production.east.1.telemetry.json",
    ]
    assert all(Path(name).is_file() for name in done["copied"])
    for way in ("--text", "--line", "--qr"):
        assert "the telemetry of this report travels as a file only" in run(counting, way).stderr


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"alice")])
def test_a_damaged_or_missing_file_stops_nothing_and_is_said(
    counting: Counting, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    run(counting, "--new")
    damage(counting.place.path / "outbox" / "1.telemetry.json")
    assert "! telemetry: " in run(counting).output
    assert "! telemetry: " in run(counting, "--why").output
    medium = tmp_path / "medium"
    medium.mkdir()
    done = run(counting, "--out", str(medium))
    assert done.exit_code == 0, done.output
    assert "the telemetry of report 1 is left out" in done.output
    assert [path.name for path in medium.iterdir()] == ["northern-grid.small.production.east.1.report.json"]
    status = CliRunner().invoke(status_command, ["--site", str(counting.place.path), "--fast"])
    assert (status.exit_code, "telemetry  of report 1: " in status.output) == (0, True)
    report, telemetry = write(counting)
    assert (report.chain.seq, rows(telemetry, "errors") != ()) == (2, True)


def test_a_damaged_count_is_said_and_hides_no_other(counting: Counting) -> None:
    (counting.place.path / "telemetry" / "errors.json").write_bytes(b"alice")
    report, telemetry = write(counting)
    assert (rows(telemetry, "errors"), len(rows(telemetry, "intake_time"))) == ((), 2)
    assert [(drops.what, drops.reason) for drops in report.dropped] == [("errors", "unreadable")]


def test_what_is_withheld_does_not_leave_and_is_named(counting: Counting) -> None:
    yaml = counting.place.path / "site.yaml"
    yaml.write_text(yaml.read_text() + "telemetry: {withhold: [errors, api]}\n")
    counting.place.approve("config")
    counting.place.install("config")
    report, telemetry = write(counting)
    assert (rows(telemetry, "errors"), rows(telemetry, "api")) == ((), ())
    assert [(drops.what, drops.reason) for drops in report.dropped] == [("errors", "withheld"), ("api", "withheld")]


class FullForTelemetry(Disk):
    """Has no place for telemetry."""

    def _effect(self, kind: str, path: Path, act: Callable[[], T]) -> T:
        if kind == "write" and "telemetry" in path.name:
            raise OSError(28, "No space left on device")
        return super()._effect(kind, path, act)


def test_without_space_the_report_goes_without_telemetry_and_says_so(counting: Counting) -> None:
    reserve = counting.place.path / "reserve"
    assert reserve.exists()
    report, telemetry = write(counting, FullForTelemetry())
    assert telemetry is None
    assert [(drops.what, drops.reason, drops.count) for drops in report.dropped] == [("telemetry", "not-written", 7)]
    assert reserve.exists()


def test_a_file_goes_with_its_report(counting: Counting) -> None:
    yaml = counting.place.path / "site.yaml"
    yaml.write_text(yaml.read_text().replace("report: {every: 30d}", "report: {every: 30d, history: 2}"))
    counting.place.approve("config")
    counting.place.install("config")
    for _ in range(4):
        write(counting)
    assert sorted(path.name for path in (counting.place.path / "outbox").glob("[0-9]*")) == [
        "3.report.json",
        "3.telemetry.json",
        "4.report.json",
        "4.telemetry.json",
    ]


def test_a_crash_before_the_report_leaves_a_file_that_the_next_report_replaces(counting: Counting) -> None:
    class Crash(BaseException):
        pass

    class Crashing(Disk):
        def _effect(self, kind: str, path: Path, act: Callable[[], T]) -> T:
            if kind == "rename" and path.name.endswith(".report.json"):
                raise Crash
            return super()._effect(kind, path, act)

    with pytest.raises(Crash):
        write(counting, Crashing())
    assert (counting.place.path / "outbox" / "1.telemetry.json").exists()
    append(counting, b"code=E1\n")
    CliRunner().invoke(collect_command, ["--site", str(counting.place.path)])
    counting.collect(minutes=10)
    report, telemetry = write(counting)
    assert (report.chain.seq, len(rows(telemetry, "errors"))) == (1, 6)
