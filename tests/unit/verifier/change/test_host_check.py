"""What a release needs of its host is looked at before people agree; each look fails on a host that lacks it."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from manifests.documents import release as r
from manifests.documents.host_needs import HostNeeds
from manifests.words.errors import RefusedError
from tests.faults.model import QuickDisk
from tests.place import Place, make_place
from tests.vendor import Vendor
from verifier.approval.items import approvable_of
from verifier.approval.page import as_page, as_text
from verifier.approval.request_reader import open_request
from verifier.approval.review import make_review, review_fields
from verifier.approval.review_input import read_review_input
from verifier.approval.review_page import agreement_section, make_review_page
from verifier.approval.verdicts import approval_status
from verifier.change.host_check import HostCheck, check_host
from verifier.change.route import plan_change
from verifier.commands.check import check_command
from verifier.commands.install import install_command
from verifier.commands.review import review_command
from verifier.runtime.drivers.driver import load_driver
from verifier.runtime.preflight.capacity import is_at_least
from verifier.runtime.preflight.ports import look_at_port
from verifier.site.folder import Site

APP = r.InstallStep(step="app", driver="files", files=("service",))
PIB = 1 << 50


def vendor(needs: HostNeeds, **changes: object) -> Vendor:
    return Vendor(change={"install": (APP,), "host": needs, **changes})


def place_with(folder: Path, needs: HostNeeds) -> Place:
    place = make_place(folder / "place", Vendor(), disk=QuickDisk())
    place.receive(vendor(needs).write(folder / "1.tar"))
    return place


def checked(place: Place, item: str = "r-1.0.0") -> HostCheck:
    site = place.open()
    return check_host(site, (plan_change(site, item),), load_driver)


def statuses(check: HostCheck) -> dict[str, str]:
    return {result.check: result.status for result in check.results}


MET = HostNeeds(disk_bytes=1, memory_bytes=1 << 20, cores=1, kernel="2.6")
TOO_MUCH = HostNeeds(disk_bytes=PIB, memory_bytes=PIB, cores=65536, kernel="99999.0")


def test_a_host_that_has_everything_passes(tmp_path: Path) -> None:
    check = checked(place_with(tmp_path, MET))
    assert statuses(check) == dict.fromkeys(("disk", "memory", "cores", "kernel"), "passed")
    assert check.findings == ()


def test_a_host_that_lacks_everything_fails_each(tmp_path: Path) -> None:
    check = checked(place_with(tmp_path, TOO_MUCH))
    assert statuses(check) == dict.fromkeys(("disk", "memory", "cores", "kernel"), "failed")
    assert [finding.error.finding for finding in check.findings] == [
        "host-disk",
        "host-memory",
        "host-cores",
        "host-kernel",
    ]
    kernel = check.results[3]
    assert (kernel.needs, kernel.observed) == ("99999.0 or newer", os.uname().release)


def test_what_only_warns_stops_nothing(tmp_path: Path) -> None:
    place = place_with(tmp_path, HostNeeds(memory_bytes=PIB, cores=65536, warn=("memory", "cores")))
    assert statuses(checked(place)) == {"memory": "warned", "cores": "warned"}
    place.approve("r-1.0.0")
    assert place.install("r-1.0.0").error is None


def test_a_release_without_needs_asks_for_nothing(tmp_path: Path) -> None:
    place = make_place(tmp_path / "place", Vendor(), disk=QuickDisk())
    place.receive(Vendor(change={"install": (APP,)}).write(tmp_path / "1.tar"))
    assert checked(place) == HostCheck()


@pytest.mark.parametrize(
    ("version", "need", "met"),
    [
        ("5.10.0-28-amd64", "5.10", True),
        ("5.9.16", "5.10", False),
        ("6.0", "5.10.7", True),
        ("5.10", "5.10.0", True),
        ("5.10", "5.10.1", False),
        ("v1.28.4+k3s1", "1.28", True),
        ("v1.27.99", "1.28", False),
        ("unknown", "0.0", False),
    ],
)
def test_versions_are_compared_number_by_number(version: str, need: str, met: bool) -> None:
    assert is_at_least(version, need) is met


@contextmanager
def tmpfs(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False
    ).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_disk_that_is_nearly_full_fails(tmp_path: Path) -> None:
    """On a real file system: the need is besides what the install takes itself."""
    with tmpfs(tmp_path / "small", "size=64m") as folder:
        place = place_with(folder, HostNeeds(disk_bytes=16 << 20))
        (before,) = checked(place).results
        assert before.status == "passed"
        (folder / "place" / "ballast").write_bytes(bytes(40 << 20))
        (after,) = checked(place).results
        assert (after.status, after.remedy.startswith("free ")) == ("failed", True)
        assert " free, the install takes " in after.observed


# --- ports ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_port_on_which_another_program_listens_fails(tmp_path: Path, family: int, address: str) -> None:
    with socket.socket(family) as server:
        try:
            server.bind((address, 0))
        except OSError:
            pytest.skip("this host has no IPv6")
        port = server.getsockname()[1]
        place = place_with(tmp_path, HostNeeds(ports=(port,)))
        # Bound is not listening yet.
        assert statuses(checked(place)) == {f"port {port}": "passed"}
        server.listen()
        (result,) = checked(place).results
        assert (result.check, result.status) == (f"port {port}", "failed")
        assert result.observed.startswith(f"process {os.getpid()} (")
    assert statuses(checked(place)) == {f"port {port}": "passed"}


def test_a_listener_of_another_account_is_not_seen(tmp_path: Path) -> None:
    """As an account sees it that may not look into other processes: the socket, and nobody who has it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (tmp_path / "net").mkdir()
        (tmp_path / "net" / "tcp").write_text(Path("/proc/net/tcp").read_text())
    observation = look_at_port(port, tmp_path, proc=tmp_path)
    assert (observation.met, observation.seen) == (False, False)
    assert observation.text.startswith("cannot be seen, because a process of another account listens there")


def test_another_account_than_the_sites_is_only_warned_of_what_it_cannot_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = place_with(tmp_path, HostNeeds(memory_bytes=PIB, registry="answers"))
    assert statuses(checked(place)) == {"memory": "failed", "registry": "failed"}
    monkeypatch.setattr(os, "geteuid", lambda: place.path.stat().st_uid + 4711)
    assert statuses(checked(place)) == {"memory": "failed", "registry": "warned"}


def test_a_service_of_this_site_may_listen_already(tmp_path: Path) -> None:
    code = (
        "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"
    )
    place = make_place(tmp_path / "place", Vendor(), disk=QuickDisk())

    def listener(folder: Path) -> tuple[subprocess.Popen[str], int]:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "WAYBILL_FOLDER": str(folder)},
        )
        assert process.stdout is not None
        return process, int(process.stdout.readline())

    own, own_port = listener(place.path / "srv" / "app" / "1")
    other, other_port = listener(tmp_path / "another-site" / "srv" / "app" / "1")
    try:
        place.receive(vendor(HostNeeds(ports=(own_port, other_port))).write(tmp_path / "1.tar"))
        assert statuses(checked(place)) == {f"port {own_port}": "passed", f"port {other_port}": "failed"}
    finally:
        for process in (own, other):
            process.communicate("\n")


# --- everywhere -----------------------------------------------------------------------------------------------------


def test_check_prints_one_line_for_each_and_ends_as_refused(tmp_path: Path) -> None:
    place = place_with(tmp_path, replace_needs(TOO_MUCH, cores=1))
    done = CliRunner().invoke(check_command, ["r-1.0.0", "--site", str(place.path)])
    assert done.exit_code == RefusedError.exit_code
    assert "r-1.0.0: 3 missing" in done.output
    assert f"  failed: kernel: {os.uname().release}; needed: 99999.0 or newer; boot a kernel of 99999.0" in done.output
    assert "  passed: cores: " in done.output
    done = CliRunner().invoke(check_command, ["r-1.0.0", "--site", str(place.path), "--json"])
    (item,) = json.loads(done.stdout)["items"]
    assert [(result["check"], result["status"]) for result in item["host"]] == [
        ("disk", "failed"),
        ("memory", "failed"),
        ("cores", "passed"),
        ("kernel", "failed"),
    ]
    assert item["host"][3]["needs"] == "99999.0 or newer"
    assert item["host"][3]["observed"] == os.uname().release
    assert item["findings"] == []


def replace_needs(needs: HostNeeds, **changes: object) -> HostNeeds:
    from msgspec.structs import replace as structs_replace

    changed: HostNeeds = structs_replace(needs, **changes)
    return changed


def test_install_refuses_what_failed_before_the_first_write(tmp_path: Path) -> None:
    place = place_with(tmp_path, TOO_MUCH)
    place.approve("r-1.0.0")
    with pytest.raises(RefusedError, match="4 things are missing here: disk: "):
        place.install("r-1.0.0")
    assert place.open().state.installs.transaction is None
    args = ["r-1.0.0", "--dry-run", "--site", str(place.path)]
    done = CliRunner().invoke(install_command, args)
    assert done.exit_code == RefusedError.exit_code
    assert "failed: kernel: " in done.output


def test_a_single_failure_is_refused_with_its_own_finding(tmp_path: Path) -> None:
    place = place_with(tmp_path, HostNeeds(kernel="99999.0"))
    place.approve("r-1.0.0")
    with pytest.raises(RefusedError) as refused:
        place.install("r-1.0.0")
    assert (refused.value.finding, refused.value.where) == ("host-kernel", "host of release 1.0.0")


def test_a_new_configuration_asks_again_and_a_rollback_does_not(tmp_path: Path) -> None:
    place = make_place(tmp_path / "place", Vendor(), disk=QuickDisk())
    place.bring(Vendor(change={"install": (APP,)}).write(tmp_path / "1.tar"))
    needy = replace(vendor(MET), version="1.1.0", sequence=2, needs_from=(">=1.0.0, <1.1.0",))
    place.bring(needy.write(tmp_path / "2.tar"))
    site = place.open()
    from verifier.change.rollback_plan import rollback_change

    assert check_host(site, (rollback_change(site, 1),), load_driver) == HostCheck()


def review_of(site: Site) -> object:
    asked = approvable_of(site, ("r-1.0.0",))
    return make_review(read_review_input(site, asked, load_driver))


def test_review_shows_it_before_the_warnings_as_text_page_and_data(tmp_path: Path) -> None:
    place = place_with(tmp_path, HostNeeds(cores=1, kernel="99999.0"))
    site = place.open()
    asked = approvable_of(site, ("r-1.0.0",))
    review = make_review(read_review_input(site, asked, load_driver))
    assert review.lacks == 1
    page = make_review_page(review, agreement_section(asked, approval_status(site, asked), lacks=review.lacks))
    titles = [section.title for section in page.sections]
    assert titles.index("the host") < titles.index("warnings")
    text = as_text(page)
    assert "not ready: the site lacks 1 thing" in text
    assert "failed: kernel: " in text
    html = as_page(page)
    assert ">the host</" in html
    assert "99999.0 or newer" in html
    data = json.loads(json.dumps(review_fields(review)))
    assert [(result["check"], result["status"]) for result in data["host"]] == [
        ("cores", "passed"),
        ("kernel", "failed"),
    ]


def test_review_shows_how_the_needs_change(tmp_path: Path) -> None:
    place = make_place(tmp_path / "place", Vendor(), disk=QuickDisk())
    place.bring(vendor(HostNeeds(cores=1, disk_bytes=1 << 20)).write(tmp_path / "1.tar"))
    newer = replace(
        vendor(HostNeeds(disk_bytes=2 << 20, memory_bytes=1 << 20)),
        version="1.1.0",
        sequence=2,
        needs_from=(">=1.0.0, <1.1.0",),
    )
    place.receive(newer.write(tmp_path / "2.tar"))
    site = place.open()
    asked = approvable_of(site, ("r-1.1.0",))
    review = make_review(read_review_input(site, asked, load_driver))
    assert [(change.name, change.how) for change in review.part("host")] == [
        ("cores", "removed"),
        ("disk", "changed"),
        ("memory", "added"),
    ]
    text = as_text(make_review_page(review, agreement_section(asked, approval_status(site, asked))))
    assert "needs of the host\n  1 added, 1 removed, 1 changed" in text


def test_an_approver_elsewhere_sees_what_the_site_saw(tmp_path: Path) -> None:
    place = place_with(tmp_path, HostNeeds(cores=1, memory_bytes=PIB, warn=("memory",)))
    args = ["r-1.0.0", "--out", str(tmp_path / "ask"), "--site", str(place.path)]
    done = CliRunner().invoke(review_command, args)
    assert done.exit_code == 0, done.output
    at_the_desk = make_review(open_request(tmp_path / "ask").review_input)
    assert [(result.check, result.status) for result in at_the_desk.host.checks] == [
        ("memory", "warned"),
        ("cores", "passed"),
    ]
    assert "the host" in (tmp_path / "ask" / "review.txt").read_text()


def test_the_result_is_no_part_of_the_plan(tmp_path: Path) -> None:
    place = place_with(tmp_path, HostNeeds(disk_bytes=1))
    before = plan_change(place.open(), "r-1.0.0").plan.digest
    (place.path / "ballast").write_bytes(bytes(4 << 20))
    assert plan_change(place.open(), "r-1.0.0").plan.digest == before
