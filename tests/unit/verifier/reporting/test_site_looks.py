"""`check` without an item looks at the site itself; each look fails on a site that is really broken in that way."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner

from manifests.documents import release as r
from manifests.words.errors import AttentionError
from tests.faults.model import QuickDisk
from tests.place import ENDPOINTS, Place, make_place
from tests.unit.verifier.change.test_host_network import Served, server_context, serving
from tests.vendor import Vendor
from verifier.commands.check import check_command
from verifier.commands.install import install_command
from verifier.reporting.offboarding import agree_offboarding, ask_offboarding, end_access, finish_offboarding
from verifier.reporting.site_looks import look_at_site
from verifier.runtime.drivers.driver import load_driver
from verifier.runtime.preflight.modes import look_at_modes
from verifier.runtime.preflight.result import PreflightResult
from verifier.runtime.preflight.timers import escaped, look_at_timers

APP = r.InstallStep(step="app", driver="files", files=("service",))
FIRST = Vendor(change={"install": (APP,)})
SECOND = Vendor(
    version="1.1.0", sequence=2, needs_from=(">=1.0.0, <1.1.0",), extra={"x": b"second"}, change={"install": (APP,)}
)


def installed(folder: Path, *vendors: Vendor) -> Place:
    place = make_place(folder / "place", Vendor(), disk=QuickDisk())
    for number, vendor in enumerate(vendors or (FIRST, SECOND)):
        place.bring(vendor.write(folder / f"{number}.tar"))
    return place


def looks(place: Place) -> dict[str, PreflightResult]:
    return {result.check: result for result in look_at_site(place.open(), load_driver)}


def edit(place: Place, old: str, new: str) -> None:
    """Change the settings of the site before anything is installed."""
    yaml = place.path / "site.yaml"
    assert old in yaml.read_text()
    yaml.write_text(yaml.read_text().replace(old, new))


def call(place: Place, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(check_command, [*words, "--site", str(place.path)], catch_exceptions=False)
    return done.exit_code, done.stdout


def test_a_site_that_is_well(tmp_path: Path) -> None:
    results = looks(installed(tmp_path))
    assert [check for check, result in results.items() if result.status == "failed"] == []
    passed = {check for check, result in results.items() if result.status == "passed"}
    assert passed >= {"store", "generation", "drift", "rollback", "reserve", "site key", "modes"}
    assert results["rollback"].observed.startswith("to generation 1 (1.0.0): takes ")
    assert results["clock"].status == "warned"  # there is no other clock to ask


def test_a_site_where_nothing_is_installed(tmp_path: Path) -> None:
    results = looks(make_place(tmp_path / "place", Vendor(), disk=QuickDisk()))
    assert not {"generation", "drift", "rollback"} & results.keys()
    assert results["store"].observed == "0 blobs are whole, 0 B"


def test_after_the_first_install_there_is_nothing_to_return_to(tmp_path: Path) -> None:
    result = looks(installed(tmp_path, FIRST))["rollback"]
    assert (result.status, result.observed) == ("passed", "no earlier generation is kept")


# --- store and drift ------------------------------------------------------------------------------------------------


def blobs(place: Place) -> list[Path]:
    return sorted(place.open().blobs.iterdir())


def test_a_flipped_bit_in_the_store(tmp_path: Path) -> None:
    place = installed(tmp_path)
    victim = max(blobs(place), key=lambda path: path.stat().st_size)
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.chmod(0o644)
    victim.write_bytes(data)
    result = looks(place)["store"]
    assert result.status == "failed"
    assert result.observed.startswith(
        f"1 of {len(blobs(place))} blobs are damaged: {victim.name[:12]} has digest sha256:"
    )
    code, text = call(place)
    assert (code, "the site: 1 failed" in text) == (AttentionError.exit_code, True)
    code, text = call(place, "--fast")
    assert (code, "store:" in text) == (0, False)


def test_a_blob_that_is_gone(tmp_path: Path) -> None:
    place = installed(tmp_path)
    release = place.open().state.installs.running
    assert release is not None
    place.open().blobs.joinpath(service_blob(place)).unlink()
    results = looks(place)
    assert results["store"].status == "passed"  # what is there is whole
    assert results["generation"].status == "failed"
    assert "1 blob is missing or damaged" in results["generation"].observed


def service_blob(place: Place) -> str:
    """The file of the service, which every release of these tests has."""
    from verifier.site.generations import read_running

    running = read_running(place.open())
    assert running is not None
    return running.release.files[0].entries[0].digest.removeprefix("sha256:")


def test_a_file_that_somebody_changed(tmp_path: Path) -> None:
    place = installed(tmp_path)
    changed = next(path for path in (place.path / "srv").rglob("*") if path.is_file() and not path.is_symlink())
    for path in (place.path / "srv").rglob("*"):
        if path.is_file() and path.name == changed.name:
            path.chmod(0o644)
            path.write_bytes(b"changed by hand")
    result = looks(place)["drift"]
    assert (result.status, "app/" in result.observed) == ("failed", True)


def test_current_points_elsewhere(tmp_path: Path) -> None:
    place = installed(tmp_path)
    (place.path / "current").unlink()
    result = looks(place)["drift"]
    assert (result.status, "`current` is missing" in result.observed) == ("failed", True)


def test_a_driver_that_hangs_ends_in_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = installed(tmp_path)
    monkeypatch.setattr("verifier.reporting.site_looks.OBSERVE_SECONDS", 0.2)
    monkeypatch.setattr("verifier.reporting.site_looks.observe", lambda *_: time.sleep(2))
    result = looks(place)["drift"]
    assert (result.status, result.observed) == ("failed", "cannot be seen, because no answer within 0.2 s")


# --- the way back ---------------------------------------------------------------------------------------------------


@contextmanager
def tmpfs(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_disk_that_is_too_full_for_a_rollback(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "small", "size=64m") as folder:
        place = installed(folder)
        assert looks(place)["rollback"].status == "passed"
        free = os.statvfs(folder)
        (folder / "ballast").write_bytes(bytes(free.f_bavail * free.f_frsize - (1 << 20)))
        result = looks(place)["rollback"]
        assert (result.status, result.remedy) == ("failed", "free space on this disk")


def test_a_rollback_that_lacks_blobs(tmp_path: Path) -> None:
    place = installed(tmp_path)
    place.open().blobs.joinpath(service_blob(place)).unlink()
    result = looks(place)["rollback"]
    assert (result.status, "blob is missing or damaged" in result.observed) == ("failed", True)


def test_no_generation_can_be_reached(tmp_path: Path) -> None:
    """The newer release says that nobody can go back from it."""
    from msgspec.structs import replace

    class OneWay(Vendor):
        def rollback(self):  # type: ignore[no-untyped-def]  # the type is the vendor's
            return replace(super().rollback(), back_to=())

    one_way = OneWay(
        version="1.1.0", sequence=2, needs_from=(">=1.0.0, <1.1.0",), change={"install": (APP,), "floor": 2}
    )
    place = installed(tmp_path, FIRST)
    item = place.receive(one_way.write(tmp_path / "one-way.tar")).item
    place.approve(item)
    dry = CliRunner().invoke(install_command, [item, "--dry-run", "--site", str(place.path)], catch_exceptions=False)
    assert dry.stdout.startswith("would fit: generation 2, small 1.1.0\nstill runs: generation 1, small 1.0.0\n")
    assert (
        "\nwarning: once it is confirmed, no rollback is possible: generation 1 (1.0.0): below the floor" in dry.stdout
    )
    assert "\nwarning: the floor of channel stable rises from 1 to 2" in dry.stdout
    assert "\nuntil it is confirmed: generation 1 (1.0.0) can be returned to" in dry.stdout
    place.install(item)
    result = looks(place)["rollback"]
    assert (result.status, "generation 1 (1.0.0): " in result.observed) == ("failed", True)


def test_a_later_generation_is_kept_and_cannot_be_returned_to(tmp_path: Path) -> None:
    """The first generation runs again, so it has no former one; the one that was left is kept all the same."""
    from msgspec.structs import replace

    class First(Vendor):
        def rollback(self):  # type: ignore[no-untyped-def]  # the type is the vendor's
            return replace(super().rollback(), back_to=())

    place = installed(tmp_path, First(change={"install": (APP,)}), SECOND)
    assert place.rollback(1, "ops-1").error is None
    assert place.open().former() == 0
    result = looks(place)["rollback"]
    assert (result.status, result.observed) == ("failed", "generation 2 (1.1.0): release 1.0.0 allows no rollback")


def test_a_reserve_that_was_spent(tmp_path: Path) -> None:
    place = installed(tmp_path)
    place.open().reserve.unlink()
    assert looks(place)["reserve"].status == "warned"


# --- keys and modes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "mode", "words"),
    [
        ("keys/site.key", 0o644, "has mode 0644: others can read it"),
        ("keys", 0o755, "has mode 0755: others can read it"),
        ("secrets", 0o750, "has mode 0750: others can read it"),
        ("policy.yaml", 0o666, "has mode 0666: everybody can change it"),
        ("tls", 0o777, "has mode 0777: everybody can change it"),
        ("journal", 0o777, "has mode 0777: everybody can change it"),
        (".", 0o777, "has mode 0777: everybody can change it"),
    ],
)
def test_modes(tmp_path: Path, name: str, mode: int, words: str) -> None:
    place = installed(tmp_path, FIRST)
    (place.path / name).chmod(mode)
    result = looks(place)["modes"]
    assert (result.status, words in result.observed) == ("failed", True)
    # The command that it names mends it.
    subprocess.run(["sh", "-c", result.remedy.removeprefix("run `").removesuffix("`")], check=True)
    assert looks(place)["modes"].status == "passed"


def test_a_secret_that_site_yaml_names(tmp_path: Path) -> None:
    place = make_place(tmp_path / "place", Vendor(), disk=QuickDisk())
    edit(
        place,
        "files: {root: srv}",
        'files: {root: srv}\n  helm: {kubeconfig: {secret: "file:secrets/k"}, namespace: x}',
    )
    (place.path / "secrets" / "k").write_text("{}")
    (place.path / "secrets" / "k").chmod(0o640)
    assert "secrets/k has mode 0640" in looks(place)["modes"].observed


def test_a_key_of_another_account(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    place = make_place(tmp_path / "place", Vendor(), disk=QuickDisk())
    os.chown(place.path / "keys" / "site.key", 4711, 4711)
    assert "belongs to another account than the site" in looks(place)["modes"].observed


def test_modes_that_cannot_be_seen(tmp_path: Path) -> None:
    observation = look_at_modes(tmp_path / "gone")
    assert (observation.met, observation.seen) == (False, False)


def test_a_key_that_is_gone_or_foreign(tmp_path: Path) -> None:
    place, other = installed(tmp_path / "a", FIRST), make_place(tmp_path / "b", Vendor(), disk=QuickDisk())
    key = place.path / "keys" / "site.key"
    key.write_bytes((other.path / "keys" / "site.key").read_bytes())
    assert looks(place)["site key"].status == "failed"
    key.unlink()
    result = looks(place)["site key"]
    assert (result.status, "the key of this site is missing" in result.observed) == ("failed", True)


# --- certificates and clocks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ends_in", "status"),
    [(timedelta(days=400), "passed"), (timedelta(days=10), "warned"), (timedelta(hours=-1), "failed")],
)
def test_the_certificate_of_an_endpoint_and_its_file(tmp_path: Path, ends_in: timedelta, status: str) -> None:
    authority = trustme.CA()
    place = make_place(tmp_path / "place", Vendor(), disk=QuickDisk())
    place.clock.at = datetime.now(UTC)
    authority.cert_pem.write_to_path(str(place.path / "tls" / "ca.pem"))
    leaf = authority.issue_cert("x", not_before=datetime(2020, 1, 1, tzinfo=UTC), not_after=datetime.now(UTC) + ends_in)
    leaf.cert_chain_pems[0].write_to_path(str(place.path / "tls" / "leaf.pem"))
    with serving(Served(), server_context(authority, datetime.now(UTC) + ends_in)) as served:
        edit(place, ENDPOINTS, f'endpoints: {{api: "https://127.0.0.1:{served.port}"}}')
        results = looks(place)
    assert results["certificate api"].status == status
    assert results["tls/leaf.pem"].status == status
    assert results["tls/ca.pem"].status == "passed"


def test_an_endpoint_that_does_not_answer_fails_once_a_release_runs(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    place = make_place(tmp_path / "place", Vendor(), disk=QuickDisk())
    edit(place, ENDPOINTS, f'endpoints: {{api: "https://127.0.0.1:{port}"}}')
    assert looks(place)["certificate api"].status == "warned"
    place.bring(FIRST.write(tmp_path / "1.tar"))
    result = looks(place)["certificate api"]
    assert (result.status, "cannot be seen, because " in result.observed) == ("failed", True)


@pytest.mark.parametrize(
    ("ends_in", "status"),
    [(timedelta(days=400), "passed"), (timedelta(days=10), "warned"), (timedelta(hours=-1), "failed")],
)
def test_the_certificate_of_the_registry(tmp_path: Path, ends_in: timedelta, status: str) -> None:
    authority = trustme.CA()
    place = make_place(tmp_path / "place", Vendor(), disk=QuickDisk())
    authority.cert_pem.write_to_path(str(place.path / "tls" / "registry.crt"))
    with serving(Served(), server_context(authority, datetime.now(UTC) + ends_in)) as served:
        registry = f"registry: {{endpoint: 127.0.0.1:{served.port}, ca: tls/registry.crt}}"
        edit(place, "files: {root: srv}", f"files: {{root: srv}}\n  {registry}")
        place.bring(FIRST.write(tmp_path / "1.tar"))
        place.clock.at = datetime.now(UTC)
        assert looks(place)["certificate of the registry"].status == status


def test_files_that_are_no_certificates(tmp_path: Path) -> None:
    place = make_place(tmp_path / "place", Vendor(), disk=QuickDisk())
    (place.path / "tls" / "junk.pem").write_text("nothing")
    edit(place, "files: {root: srv}", "files: {root: srv}\n  registry: {endpoint: 127.0.0.1:1, ca: tls/gone.crt}")
    results = looks(place)
    assert (results["tls/junk.pem"].status, results["tls/junk.pem"].observed) == ("failed", "holds no certificate")
    assert (results["tls/gone.crt"].status, results["tls/gone.crt"].observed[:14]) == ("failed", "cannot be seen")


@pytest.mark.parametrize(("ahead", "status"), [(timedelta(0), "passed"), (timedelta(hours=1), "failed")])
def test_the_clock_of_an_endpoint(tmp_path: Path, ahead: timedelta, status: str) -> None:
    authority = trustme.CA()
    place = make_place(tmp_path / "place", Vendor(), disk=QuickDisk())
    authority.cert_pem.write_to_path(str(place.path / "tls" / "ca.pem"))
    with serving(Served(ahead=ahead), server_context(authority)) as served:
        edit(place, ENDPOINTS, f'endpoints: {{api: "https://127.0.0.1:{served.port}"}}')
        place.clock.at = datetime.now(UTC)
        assert looks(place)["clock"].status == status


# --- timers ---------------------------------------------------------------------------------------------------------

SYSTEMCTL = """\
#!{python}
import json, pathlib, sys, time
units = json.loads((pathlib.Path(sys.argv[0]).parent / "units.json").read_text())
if units.get("hang"):
    time.sleep(30)
shown = units.get(sys.argv[-1], {{"ActiveState": "inactive", "UnitFileState": "", "Result": "success"}})
print("\\n".join(f"{{key}}={{value}}" for key, value in shown.items()))
"""


def systemd(folder: Path, units: dict[str, object]) -> tuple[Path, str]:
    """A stand-in for systemctl that prints what a systemd with these units would; no systemd runs in tests."""
    folder.mkdir()
    (folder / "systemctl").write_text(SYSTEMCTL.format(python=sys.executable))
    (folder / "systemctl").chmod(0o755)
    (folder / "units.json").write_text(json.dumps(units))
    return folder, str(folder)


ACTIVE = {"ActiveState": "active", "UnitFileState": "enabled", "Result": "success"}
FAILED = {"ActiveState": "failed", "UnitFileState": "static", "Result": "exit-code"}
ENABLED = {"ActiveState": "inactive", "UnitFileState": "enabled", "Result": "success"}
SITE = Path("/srv/sites/east")
RIGHT = {
    "waybill-recover@srv-sites-east.service": ENABLED,
    "waybill-due@srv-sites-east.timer": ACTIVE,
    "waybill-report@srv-sites-east.timer": ACTIVE,
}


def test_a_site_that_collects_has_one_timer_more(tmp_path: Path) -> None:
    booted, path = systemd(tmp_path / "bin", dict(RIGHT))
    observation, _ = look_at_timers(SITE, reports=True, collects=True, booted=booted, search_path=path)
    assert (observation.met, "waybill-collect@srv-sites-east.timer is inactive" in observation.text) == (False, True)


def test_timers_that_run(tmp_path: Path) -> None:
    booted, path = systemd(tmp_path / "bin", dict(RIGHT))
    observation, failed = look_at_timers(SITE, reports=True, booted=booted, search_path=path)
    assert (observation.met, failed) == (True, False)
    without = {name: unit for name, unit in RIGHT.items() if "report" not in name}
    booted, path = systemd(tmp_path / "other", dict(without))
    assert look_at_timers(SITE, reports=False, booted=booted, search_path=path)[0].met
    assert not look_at_timers(SITE, reports=True, booted=booted, search_path=path)[0].met


@pytest.mark.parametrize("unit", RIGHT)
def test_a_timer_that_does_not_run(tmp_path: Path, unit: str) -> None:
    booted, path = systemd(tmp_path / "bin", {name: state for name, state in RIGHT.items() if name != unit})
    observation, failed = look_at_timers(SITE, reports=True, booted=booted, search_path=path)
    assert (observation.met, failed) == (False, False)
    assert observation.text.startswith(f"{unit} is ")
    assert f"systemctl enable --now {unit}" in observation.remedy


def test_a_timer_whose_last_run_failed(tmp_path: Path) -> None:
    booted, path = systemd(tmp_path / "bin", {**RIGHT, "waybill-report@srv-sites-east.service": FAILED})
    observation, failed = look_at_timers(SITE, reports=True, booted=booted, search_path=path)
    assert (observation.met, failed) == (False, True)
    assert observation.text == "waybill-report@srv-sites-east.service failed (exit-code)"


def test_a_host_without_systemd_or_with_one_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    observation, failed = look_at_timers(SITE, reports=True, booted=tmp_path / "no")
    assert (observation.seen, failed) == (False, False)
    assert "waybill recover --due --site /srv/sites/east every minute" in observation.remedy
    monkeypatch.setattr("verifier.runtime.preflight.timers.COMMAND_SECONDS", 0.5)
    booted, path = systemd(tmp_path / "bin", {"hang": True})
    observation, _ = look_at_timers(SITE, reports=True, booted=booted, search_path=path)
    assert (observation.seen, "systemctl did not answer" in observation.text) == (False, True)
    observation, _ = look_at_timers(SITE, reports=True, booted=booted, search_path="/nonexistent")
    assert not observation.seen


@pytest.mark.parametrize("path", ["/srv/sites/east", "/srv/a-b/c.d", "/.hidden/x", "/with space/ü", "/"])
def test_the_instance_of_a_unit_is_what_systemd_escape_prints(path: str) -> None:
    program = shutil.which("systemd-escape")
    if program is None:
        pytest.skip("systemd-escape is not installed")
    printed = subprocess.check_output([program, "--path", path], text=True).strip()
    assert escaped(Path(path)) == printed


# --- the command ----------------------------------------------------------------------------------------------------


def test_check_prints_the_site_and_ends_as_needing_a_person(tmp_path: Path) -> None:
    place = installed(tmp_path)
    code, text = call(place)
    assert code == 0
    assert "nothing waits that could be installed\nthe site: " in text
    assert "  passed: drift: 1 component is as released; needed: what runs is as released\n" in text
    (place.path / "keys" / "site.key").chmod(0o644)
    done = CliRunner().invoke(check_command, ["--site", str(place.path)])
    assert done.exit_code == AttentionError.exit_code
    code, text = call(place, "--json")
    result = json.loads(text)
    by_name = {look["check"]: look for look in result["site"]}
    assert set(by_name["modes"]) == {"check", "status", "needs", "observed", "remedy"}
    assert (by_name["modes"]["status"], result["error"]["finding"]) == ("failed", "site-check")


def test_an_item_is_looked_at_without_the_site(tmp_path: Path) -> None:
    place = installed(tmp_path, FIRST)
    place.receive(SECOND.write(tmp_path / "2.tar"))
    code, text = call(place, "r-1.1.0")
    assert (code, "the site:" in text) == (0, False)
    code, text = call(place)
    assert "r-1.1.0: nothing is missing\nthe site: " in text


def test_a_generation_that_cannot_be_read_is_a_finding(tmp_path: Path) -> None:
    place = installed(tmp_path)
    (place.path / "current" / "settings.json").unlink()
    results = looks(place)
    assert [check for check, result in results.items() if result.status == "failed" and "settings.json" in check]
    assert results["drift"].status == "failed"


def test_after_the_end_of_the_access_no_rollback_is_looked_for(tmp_path: Path) -> None:
    place = installed(tmp_path)
    assert looks(place)["rollback"].observed.startswith("to generation 1")
    with place.hold() as site:
        ask_offboarding(site, "the contract ended")
        agree_offboarding(site, place.people["ops-1"])
        end_access(site)
        finish_offboarding(site, place.clock.at)
    look = looks(place)["rollback"]
    assert (look.status, look.observed.partition(":")[0]) == ("passed", "none is possible")
