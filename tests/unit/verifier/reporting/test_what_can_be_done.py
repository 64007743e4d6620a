"""What `status` offers after a revocation and after the end of the vendor's access: only what can be done."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from manifests.documents import release as r
from manifests.documents.report import Report
from manifests.words.digest import digest_of
from manifests.words.errors import AttentionError, RefusedError, TrialError
from tests.faults.model import PluggedDisk, PulledPlugError, QuickDisk
from tests.place import Place, make_place
from tests.rootwork import FIRST, bring, listing
from tests.vendor import RELEASE, Vendor
from verifier.approval.page import as_text
from verifier.commands.review import review_command
from verifier.commands.status import status_command
from verifier.reporting.offboarding import agree_offboarding, ask_offboarding, end_access, finish_offboarding
from verifier.reporting.offboarding_page import offboarding_page, offboarding_text
from verifier.reporting.report_write import write_report
from verifier.site.outbox import read_report

NEXT = FIRST.but(version="1.1.0", sequence=2, service={"hello.txt": b"next\n"})
THIRD = FIRST.but(version="1.2.0", sequence=3, service={"hello.txt": b"third\n"})


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = make_place(tmp_path, FIRST, disk=QuickDisk(), reserve="4KiB")
    assert place.bring(FIRST.write(tmp_path / "1.tar")).error is None
    return place


def receive(place: Place, vendor: Vendor) -> str:
    return place.receive(vendor.write(place.path.parent / f"{vendor.version}.tar")).item


def revoke(place: Place, *vendors: Vendor) -> None:
    bring(place, ("list", listing(1, releases=tuple(sorted(digest_of(one.head().release) for one in vendors)))))


def shown(place: Place) -> str:
    """What `status` prints on both streams."""
    result = CliRunner().invoke(status_command, ["--fast", "--site", str(place.path)], catch_exceptions=False)
    return result.output


def data(place: Place) -> dict[str, Any]:
    result = CliRunner().invoke(status_command, ["--fast", "--site", str(place.path), "--json"])
    return dict(json.loads(result.stdout))


def test_an_approved_release_that_is_revoked_is_named_and_not_offered(place: Place) -> None:
    place.approve(receive(place, NEXT))
    assert "next: waybill install r-1.1.0" in shown(place)
    revoke(place, NEXT)
    text = shown(place)
    assert "r-1.1.0: revocations: revocation list 1 revokes this release" in text
    assert "r-1.1.0: ask the vendor for the release that replaces it" in text
    assert "waybill install" not in text
    assert "next:" not in text


def reported(place: Place) -> Report:
    """A new report of the site."""
    with place.hold() as site:
        write_report(site, site.disk, place.clock.at)
    site = place.open()
    return read_report(site, site.state.reports.seq, site.state.reports.head or "").report


def test_a_revoked_release_does_not_wait_in_the_report(place: Place) -> None:
    receive(place, NEXT)
    receive(place, THIRD)
    assert [item.item for item in reported(place).waiting] == ["r-1.1.0", "r-1.2.0"]
    revoke(place, NEXT)
    assert [(item.item, item.kind) for item in reported(place).waiting] == [("r-1.2.0", "release")]
    assert "r-1.1.0: revocations: revocation list 1 revokes this release" in shown(place)


def test_an_interrupted_install_of_a_revoked_release_is_not_continued(place: Place) -> None:
    place.approve(receive(place, NEXT))
    place.disk = PluggedDisk(12)
    with pytest.raises(PulledPlugError):
        place.install("r-1.1.0")
    place.disk = QuickDisk()
    revoke(place, NEXT)
    text = shown(place)
    assert "cut off while it was to stage; nothing was changed; it cannot go on: revocation list 1 revokes" in text
    assert "hint: waybill recover ends it; then ask the vendor for the release that replaces it" in text
    assert "waybill install" not in text
    assert place.recover()[1].error is None
    text = shown(place)
    assert "it cannot go on: revocation list 1 revokes this release\n  ask the vendor for the release" in text
    assert "recover" not in text
    # A release that replaces it goes in as any other.
    receive(place, THIRD)
    assert "next: waybill review r-1.2.0" in shown(place)


def test_a_revoked_running_release_is_left_for_what_is_there(place: Place) -> None:
    assert place.bring(NEXT.write(place.path.parent / "2.tar")).error is None
    revoke(place, NEXT)
    text = shown(place)
    assert "hint: ask the vendor for the release that replaces it, then waybill receive PATH; " in text
    assert "or waybill rollback --to 1; until then the release keeps running" in text
    assert "runs, revoked" in text
    receive(place, THIRD)
    assert "hint: install a release that replaces it: waybill review r-1.2.0; or waybill rollback" in shown(place)


def test_a_rollback_to_a_revoked_release_is_never_offered(place: Place) -> None:
    assert place.bring(NEXT.write(place.path.parent / "2.tar")).error is None
    place.approve("b-1")
    assert "next: waybill rollback --to 1" in shown(place)
    revoke(place, FIRST, NEXT)
    place.approve("b-1")
    text = shown(place)
    assert "no rollback leads out of it (generation 1 (1.0.0): revocation list 1 revokes it)" in text
    assert "b-1: release 1.0.0 is revoked: revocation list 1 revokes it" in text
    assert "waybill rollback --to" not in text
    assert "former, revoked" in text
    (item,) = data(place)["waiting"]
    assert item["revoked"] == "revocation list 1 revokes it"


def test_a_trial_of_a_revoked_release_is_not_to_be_confirmed(place: Place) -> None:
    on_trial = NEXT.but(change={"trial": r.Trial(at_most_seconds=600, confirm="person")})
    place.approve(receive(place, on_trial))
    assert isinstance(place.install("r-1.1.0").error, TrialError)
    assert "`waybill confirm --key KEY` or `waybill rollback`" in shown(place)
    revoke(place, on_trial)
    text = shown(place)
    assert "hint: run `waybill rollback`; release 1.1.0 is revoked: revocation list 1 revokes it" in text
    assert "waybill confirm" not in text


def test_a_path_of_several_releases_goes_around_a_revoked_one(place: Place) -> None:
    def hop(version: str, sequence: int, *ranges: str) -> Vendor:
        body = {"hello.txt": version.encode()}
        return FIRST.but(version=version, sequence=sequence, service=body, needs_from=ranges, fresh=False)

    middle, other = hop("1.1.0", 2, ">=1.0.0, <1.1.0"), hop("1.1.1", 3, ">=1.0.0, <1.1.0")
    for vendor in (middle, other, hop("1.2.0", 4, ">=1.1.0, <1.2.0")):
        receive(place, vendor)
    assert "r-1.1.1 r-1.2.0" in shown(place)
    revoke(place, other)
    assert "r-1.1.0 r-1.2.0" in shown(place)


def offboard(place: Place) -> None:
    with place.hold() as site:
        write_report(site, site.disk, place.clock.at)
        ask_offboarding(site, "the contract ended")
        agree_offboarding(site, place.people["ops-1"])
        end_access(site)
        finish_offboarding(site, place.clock.at)


def test_an_offboarded_site_says_so_and_what_still_works(place: Place) -> None:
    receive(place, NEXT)
    assert "\nrevoked    no list yet" in shown(place)
    assert data(place)["offboarded_at"] is None
    revoke(place, THIRD)
    assert "\nrevoked    by list 1" in shown(place)
    offboard(place)
    text = shown(place)
    assert "\noffboarded the access of small-works ended at 2026-03-01T12:00:00Z (ended); " in text
    assert "\n           still works: status, history, recover, the last report, " in text
    assert "\n           refused from then on: receive of anything else, install, a new report" in text
    assert "\nrevoked    by list 1, the last one; no other can come" in text
    assert "install r-" not in text
    assert data(place)["offboarded_at"] == "2026-03-01T12:00:00Z"


def test_a_rollback_below_the_floor_names_the_end_of_the_access(place: Place) -> None:
    rises = NEXT.but(floor=2)
    assert place.bring(rises.write(place.path.parent / "2.tar")).error is None
    offboard(place)
    text = shown(place)
    assert (
        "\n           no rollback is possible: generation 1 (1.0.0): generation 1 has sequence 1, below the floor"
        in text
    )
    assert "former" not in text
    assert "no rollback is possible: " in " ".join(as_text(offboarding_page(place.open())).split())
    with pytest.raises(RefusedError) as caught:
        place.rollback(1, person="ops-1")
    assert caught.value.problem.startswith("generation 1 has sequence 1, below the floor 2; the access of small-works")
    assert caught.value.problem.endswith("so no authorisation of the vendor counts here any more")
    assert "which names the rollbacks that are still possible" in caught.value.remedy


def test_a_rollback_above_the_floor_works_after_the_end(place: Place) -> None:
    assert place.bring(NEXT.write(place.path.parent / "2.tar")).error is None
    offboard(place)
    assert "\n           rollback is possible to generation 1 (1.0.0)\n" in shown(place)
    assert "former" in shown(place)
    assert "rollback is possible to generation 1 (1.0.0)" in as_text(offboarding_page(place.open()))
    assert place.rollback(1, person="ops-1").error is None
    running = place.open().state.installs.running
    assert running is not None
    assert running.version == "1.0.0"


@pytest.mark.parametrize("by", ["release", "key"])
def test_a_revoked_release_stays_revoked_after_the_end_of_the_access(place: Place, by: str) -> None:
    if by == "release":
        revoke(place, FIRST)
    else:
        bring(place, ("list", listing(1, keys=(RELEASE.public.keyid,))))
    (why,) = [line for line in shown(place).splitlines() if line.startswith("           running revoked: ")]
    with place.hold() as site:
        ask_offboarding(site, "the contract ended")
    arguments = ["offboard", "--site", str(place.path)]
    review = CliRunner().invoke(review_command, arguments, catch_exceptions=False).stdout
    assert "small 1.0.0 is running revoked: " in " ".join(review.split("what will be done")[0].split())
    offboard(place)
    text = shown(place)
    assert why in text.splitlines()
    assert "runs, revoked" in text
    assert "no release can be received here any more; no rollback leads out of it" in text
    result = CliRunner().invoke(status_command, ["--fast", "--site", str(place.path)])
    assert result.exit_code == AttentionError.exit_code
    site = place.open()
    final = read_report(site, site.state.reports.seq, site.state.reports.head or "").report
    assert final.install.revoked
    assert final.trust.revocations == 1
    statement = as_text(offboarding_page(site))
    assert "small 1.0.0 is running revoked: " in " ".join(statement.split())
    assert "! small 1.0.0 is running revoked: " in offboarding_text(site)


def test_an_edit_is_not_what_ends_a_revocation(place: Place) -> None:
    assert place.bring(NEXT.write(place.path.parent / "2.tar")).error is None
    yaml = place.path / "site.yaml"
    yaml.write_text(yaml.read_text() + "labels: [edited]\n")
    assert "next: waybill review config" in shown(place)
    revoke(place, NEXT)
    text = shown(place)
    assert "config" in text
    assert "next:" not in text
    receive(place, THIRD)
    assert "next: waybill review r-1.2.0" in shown(place)
