"""The end of a vendor's access at a real site: what was believed is refused, what is the customer's stays and works."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from manifests.documents import report as r
from manifests.documents import signed_report
from manifests.documents.consignment import Request
from manifests.documents.policy import Person
from manifests.trust.private_keys import encode_private, generate_key
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from manifests.words.errors import AttentionError, RefusedError, UntrustedError, WaitingError
from manifests.words.time import rfc3339
from tests.consignments import consignment_for, signed
from tests.faults.crash import recording, states
from tests.faults.model import PluggedDisk, PulledPlugError, QuickDisk, RecordingDisk
from tests.place import Place, make_place, nobody
from tests.vendor import Vendor
from verifier.approval.approve import sign_answer
from verifier.approval.items import approvable_of, offboard_request
from verifier.approval.queue import waiting_items
from verifier.approval.request_reader import open_request
from verifier.approval.request_writer import write_request
from verifier.approval.verdicts import approval_status
from verifier.commands.check import check_command
from verifier.commands.history import history_command
from verifier.commands.offboard import offboard_command
from verifier.commands.receive import receive_command
from verifier.commands.recover import recover_command
from verifier.commands.report import report_command
from verifier.commands.review import review_command
from verifier.commands.rollback import rollback_command
from verifier.commands.show import show_command
from verifier.commands.status import status_command
from verifier.commands.verify import verify_command
from verifier.intake.bundles import receive_bundle
from verifier.intake.consignments import peek_consignment_file, receive_consignment
from verifier.intake.media import receive_media
from verifier.reporting.key_change import rotate_key
from verifier.reporting.offboarding import agree_offboarding, ask_offboarding, end_access, finish_offboarding
from verifier.reporting.report_write import write_report
from verifier.runtime.drivers.driver import load_driver
from verifier.site.folder import EVIDENCE, SITE_KEY
from verifier.site.journal.events import Alarm, OffboardDone, Tried
from verifier.site.outbox import read_report
from verifier.site.vendor_access import check_served

ONE = Vendor(version="1.0.0", sequence=1)
TWO = ONE.but(version="1.1.0", sequence=2, service={"hello.txt": b"two\n"})
THREE = ONE.but(version="1.2.0", sequence=3, service={"hello.txt": b"three\n"})


def served(folder: Path) -> Place:
    """A site with two releases installed, a third one waiting, and a consignment with a request."""
    place = make_place(folder, ONE, disk=QuickDisk(), reserve="4KiB")
    place.tell = lambda site, cause: write_report(site, site.disk, place.clock.at, cause=cause)
    place.bring(ONE.write(folder / "1.tar"))
    place.bring(TWO.write(folder / "2.tar"))
    place.approve(place.receive(THREE.write(folder / "3.tar")).item)
    asked = (Request(request="q1", handler="restart"),)
    (folder / "note").write_bytes(signed(consignment_for(place.open().state, acknowledge=True, requests=asked)))
    with place.hold() as site:
        receive_consignment(site, peek_consignment_file(folder / "note"))
        write_report(site, site.disk, place.clock.at)
    return place


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return served(tmp_path_factory.mktemp("served"))


@pytest.fixture
def place(template: Place, tmp_path: Path) -> Place:
    """A copy of a served site, for one test to end."""
    shutil.copytree(template.path.parent, tmp_path / "world", symlinks=True)
    return copied(template, tmp_path / "world" / "site")


def copied(place: Place, path: Path) -> Place:
    other = Place(path=path, disk=QuickDisk(), clock=place.clock, people=place.people)
    other.tell = lambda site, cause: write_report(site, site.disk, place.clock.at, cause=cause)
    return other


def go(place: Place, words: str = "the contract ended") -> Any:
    with place.hold() as site:
        ask_offboarding(site, words)
        agree_offboarding(site, place.people["ops-1"])
        end_access(site)
        return finish_offboarding(site, place.clock.at)


def last(place: Place) -> r.Report:
    site = place.open()
    return read_report(site, site.state.reports.seq, site.state.reports.head or "").report


def tried(place: Place) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for entry in place.open().entries:
        if isinstance(entry.record.event, Tried):
            found.setdefault(entry.record.event.kind, []).append(entry.record.event.outcome)
    return found


def test_what_was_believed_is_refused_and_the_report_says_so(place: Place) -> None:
    before = place.open().state
    found = go(place)
    assert found.error is None
    assert tried(place) == {
        "bundle": ["refused"] * 3,
        "signature": ["refused"] * 3,
        "consignment": ["refused"],
        "request": ["refused"],
        "approval": ["refused"] * 3,
    }
    said = last(place).trust.offboarding
    assert said is not None
    assert (said.reason, said.removed, said.final, said.key) == ("ended", True, True, "kept")
    assert {one.finding for one in said.probes} == {"root-unknown"}
    bundles = {one.artefact for one in said.probes if one.kind == "bundle"}
    assert bundles == {digest_of(encode(one.release()[0])) for one in (ONE, TWO, THREE)}
    note = digest_of((place.path.parent / "note").read_bytes())
    assert {one.artefact for one in said.probes if one.kind in ("consignment", "request")} == {note}
    assert said.remains == r.Remains(generations=2, releases=2, evidence=4)
    # Support still sees which root was believed last, and no counter fell.
    assert last(place).trust.root.digest == before.trust.root.digest
    assert last(place).install.release is not None
    assert place.open().state.reports.seq == before.reports.seq + 1


def test_the_very_same_files_were_taken_before(place: Place) -> None:
    """The probes use what this site really took in: brought again from outside, each is refused for the same reason."""
    world = place.path.parent
    go(place)
    with place.hold() as site:
        for name in ("1.tar", "2.tar", "3.tar"):
            with pytest.raises(UntrustedError) as caught:
                receive_bundle(site, world / name, keep=False, advance=nobody)
            assert caught.value.finding == "root-unknown"
            with pytest.raises(RefusedError) as refused:
                receive_media(site, (world / name,), keep=False, watch=watch)
            assert refused.value.finding == "offboarded"
        newer = world / "newer"
        newer.write_bytes(signed(consignment_for(site.state, 2)))
        for note in (world / "note", newer):
            with pytest.raises(UntrustedError) as caught:
                receive_consignment(site, peek_consignment_file(note))
            assert caught.value.finding == "root-unknown"


def watch(path: Path) -> Any:
    from contextlib import nullcontext

    return nullcontext(lambda _: None)


def test_what_is_the_customers_stays_and_works(place: Place) -> None:
    (place.path / "data").mkdir(exist_ok=True)
    (place.path / "data" / "orders.db").write_bytes(b"orders")
    kept = {
        path: path.read_bytes()
        for part in ("data", "store", "generations", "heads", "srv", "oci", "secrets", "people")
        for path in (place.path / part).rglob("*")
        if path.is_file()
    }
    assert len(kept) > 10
    roots = [path.read_bytes() for path in sorted((place.path / "trust").iterdir())]
    go(place)
    assert {path: path.read_bytes() for path in kept} == kept
    assert [path.read_bytes() for path in sorted((place.path / EVIDENCE).iterdir())] == roots
    assert list((place.path / "trust").iterdir()) == []
    assert place.rollback(1, "ops-1").error is None
    state = place.open().state
    assert (state.installs.current, state.installs.inconsistent) == (1, False)
    assert (place.path / "srv" / "app" / "current" / "hello.txt").read_bytes() == b"hello\n"
    assert place.rollback(2, "ops-1").error is None
    assert place.recover()[1].error is None
    # Nobody is told: the last report was the last.
    assert place.open().state.reports.seq == 4


def run(command: Any, place: Place, *words: str, code: int = 0) -> dict[str, Any]:
    found = CliRunner().invoke(command, [*words, "--site", str(place.path), "--json"], catch_exceptions=False)
    assert found.exit_code == code, found.output
    shown: dict[str, Any] = json.loads(found.stdout)
    return shown


def test_the_statement_says_what_stays_where(place: Place) -> None:
    """From the journal and the folder: nothing is called there that is not, and nothing that is there is left out."""
    go(place)
    page = place.path.parent / "statement.html"
    shown = run(offboard_command, place, "--page", str(page))
    options = ["--site", str(place.path), "--verbose"]
    text = CliRunner().invoke(offboard_command, options, catch_exceptions=False).stdout
    brief = CliRunner().invoke(offboard_command, options[:-1], catch_exceptions=False).stdout
    assert "tried again   11 refused" in brief
    assert len(brief.splitlines()) < 12
    for words in (
        "small-works has no access to northern-grid/small/production/east any more",
        "agreed to by",
        "ops-1 (operator)",
        "what was tried once more",
        "refused",
        "the software that runs",
        "what still works",
        "the last report",
    ):
        assert words in text
        assert words in page.read_text()
    named = {one["where"]: one["what"] for one in shown["stays"]}
    for where in named:
        if where != str(place.path / "keys" / "site.key"):
            assert Path(where).exists() or Path(where).is_symlink(), where
    top = {one.name for one in place.path.iterdir()}
    told = {Path(where).relative_to(place.path).parts[0] for where in named}
    # What is of no use to anybody but the program itself is not told.
    assert top - told <= {"lock", "reserve", "trust", "run"}
    found = CliRunner().invoke(offboard_command, ["--site", str(place.path), "--page", str(page)])
    assert found.exit_code == 5


def test_what_is_refused_afterwards(place: Place) -> None:
    go(place)
    world = place.path.parent
    assert run(receive_command, place, str(world / "3.tar"), code=5)["error"]["finding"] == "offboarded"
    assert run(report_command, place, "--new", code=5)["error"]["finding"] == "offboarded"
    assert run(offboard_command, place, "--reason", "again") is not None  # done already; says so again
    for item in ("r-1.2.0",):
        with pytest.raises(RefusedError, match="the access of small-works ended"):
            place.install(item)
        with pytest.raises(RefusedError, match="the access of small-works ended"):
            place.approve(item)
    yaml = place.path / "site.yaml"
    yaml.write_text(yaml.read_text().replace("target: other", "target: vm"))
    with pytest.raises(RefusedError, match="the access of small-works ended"):
        place.install("config")
    # Above the refusal of the verbs there is that of trust itself, whichever way a release comes in.
    with place.hold() as site, pytest.raises(UntrustedError):
        receive_bundle(site, world / "3.tar", keep=False, advance=nobody)
    assert run(report_command, place, "--preview", code=5)["error"]["finding"] == "offboarded"
    with place.hold() as site, pytest.raises(RefusedError):
        check_served(site.state)
    # The last report may be handed out as often as somebody carries it.
    out = world / "out"
    out.mkdir()
    assert len(run(report_command, place, "--out", str(out))["copied"]) >= 1
    assert run(report_command, place, "--text")["report"]["trust"]["offboarding"]["final"]
    shown = run(status_command, place)
    assert (shown["report"], shown["version"]) == (4, "1.1.0")
    assert shown["waiting"] == []
    said = CliRunner().invoke(status_command, ["--site", str(place.path)]).stdout
    assert "offboarded the access of small-works ended at 2026-03-01T12:00:" in said
    assert f"(ended); {sum(map(len, tried(place).values()))} refused" in said
    assert last(place).waiting == ()
    run(history_command, place)


def test_what_was_never_held_is_unproven(tmp_path: Path) -> None:
    """Nothing but a bundle and its signature came here: the others are said to be unproven, and never refused."""
    place = make_place(tmp_path, ONE, disk=QuickDisk())
    place.receive(ONE.write(tmp_path / "1.tar"))
    go(place)
    assert tried(place) == {
        "bundle": ["refused"],
        "signature": ["refused"],
        "approval": ["unproven"],
        "consignment": ["unproven"],
        "request": ["unproven"],
    }
    said = last(place).trust.offboarding
    assert said is not None
    assert [one.kind for one in said.probes if one.outcome == "unproven"] == ["approval", "consignment", "request"]


def test_what_is_damaged_proves_nothing(place: Place) -> None:
    for path in (place.path / "heads").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    go(place)
    assert tried(place)["bundle"] == tried(place)["signature"] == ["unproven"]


def test_what_is_still_believed_is_an_alarm(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A verifier that forgot to forget: the probes say so, the report says so, and the verb does not end well."""
    from verifier.site.journal import fold

    monkeypatch.setattr(fold, "NO_ROOT", place.open().state.trust.root)
    monkeypatch.setattr("verifier.reporting.offboarding._set_aside", lambda site: None)
    found = go(place)
    assert isinstance(found.error, AttentionError)
    assert set(tried(place)["bundle"]) == set(tried(place)["signature"]) == {"accepted"}
    said = last(place)
    assert said.trust.offboarding is not None
    assert "accepted" in {one.outcome for one in said.trust.offboarding.probes}
    assert "still-believed" in {one.code for one in said.trust.alarms}


def test_people_are_asked(place: Place) -> None:
    """Two officers where the policy says two; the reason is part of what they agree to."""
    people = {name: generate_key() for name in ("sec-1", "sec-2")}
    old = place.open().policy
    listed = {name: Person(role="security", keys=(one.public,)) for name, one in people.items()}
    rules = {**old.rules, "offboard": {"security": 2}}
    place.put_policy(replace(old, number=2, people={**old.people, **listed}, rules=rules))
    with place.hold() as site:
        with pytest.raises(RefusedError, match="was not requested"):
            end_access(site)
        assert ask_offboarding(site, "the contract ended")
        assert not ask_offboarding(site, "the contract ended")
        agree_offboarding(site, place.people["ops-1"])
        with pytest.raises(WaitingError, match="waits for 2 security"):
            end_access(site)
        agree_offboarding(site, people["sec-1"])
        ask_offboarding(site, "another reason")  # what the first one agreed to is not this
        agree_offboarding(site, people["sec-2"])
        assert approval_status(site, offboard_request(site)).missing == "1 security"
        (waits,) = [one for one in waiting_items(site) if one.head.kind == "offboard"]
        assert [(one.role, one.have, one.need) for one in waits.roles] == [("security", 1, 2)]
        agree_offboarding(site, people["sec-1"])
        end_access(site)
        assert site.state.offboarded
        with pytest.raises(RefusedError) as caught:
            ask_offboarding(site, "once more")
        assert caught.value.finding == "offboarded"


def test_asked_is_told_before_it_is_done(place: Place) -> None:
    keys = place.path.parent / "ops-1.key"
    keys.write_bytes(encode_private(place.people["ops-1"], None))
    keys.chmod(0o600)
    assert run(offboard_command, place, code=5)["error"]["finding"] == "offboard-not-asked"
    assert run(offboard_command, place, "--reason", "the contract ended", code=9)["error"]["finding"]
    said = last(place).trust.offboarding
    assert said is not None
    assert (said.removed, said.final, said.probes) == (False, False, ())
    assert "canary" not in json.dumps(run(report_command, place))
    done = run(offboard_command, place, "--key", str(keys))
    assert {one["outcome"] for one in done["tried"]} == {"refused"}


def key_of(place: Place) -> str:
    path = place.path.parent / "ops-1.key"
    path.write_bytes(encode_private(place.people["ops-1"], None))
    path.chmod(0o600)
    return str(path)


def test_without_a_terminal_the_consequences_are_printed_first(place: Place) -> None:
    words = ["--reason", "retired", "--key", key_of(place), "--site", str(place.path)]
    done = CliRunner().invoke(offboard_command, words, catch_exceptions=False)
    assert done.exit_code == 0
    text = " ".join(done.stderr.split())
    for line in (
        "! it cannot be undone",
        "! the site retires: its key is destroyed",
        "! 1.2.0 can no longer be installed",
        "stays: the software that runs (small 1.1.0)",
    ):
        assert line in text
    assert "end the access now" not in text
    assert not (place.path / "keys" / SITE_KEY).exists()


def test_what_people_approved_before_needs_no_other_confirmation(place: Place) -> None:
    with place.hold() as site:
        ask_offboarding(site, "the contract ended")
        agree_offboarding(site, place.people["ops-1"])
    assert run(offboard_command, place)["reason"] == "ended"


def test_at_a_terminal_the_end_is_asked_for(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("verifier.commands.weighing.at_terminal", lambda: True)
    words = ["--reason", "the contract ended", "--key", key_of(place), "--site", str(place.path)]
    refused = CliRunner().invoke(offboard_command, words, input="n\n")
    assert refused.exit_code == RefusedError.exit_code
    assert "! it cannot be undone" in refused.stderr.split("end the access now")[0]
    site = place.open()
    assert not site.state.offboarded
    assert approval_status(site, offboard_request(site)).approvals == ()
    assert CliRunner().invoke(offboard_command, words[2:], input="y\n").exit_code == 0
    assert place.open().state.offboarded


def test_a_site_that_retires_destroys_its_key(place: Place) -> None:
    go(place, "retired")
    assert not (place.path / "keys" / SITE_KEY).exists()
    said = last(place).trust.offboarding
    assert said is not None
    assert (said.reason, said.key) == ("retired", "destroyed")
    assert place.open().state.offboarding.ended == OffboardDone(report=4, key="destroyed")  # type: ignore[union-attr]  # it was ended
    assert run(report_command, place)["report"]["trust"]["offboarding"]["key"] == "destroyed"


def test_nothing_ends_while_the_key_is_missing_or_a_change_is_under_way(place: Place) -> None:
    (place.path / "keys" / SITE_KEY).rename(place.path / "keys" / "away")
    with place.hold() as site:
        ask_offboarding(site, "x")
        agree_offboarding(site, place.people["ops-1"])
        with pytest.raises(Exception, match="is missing"):
            end_access(site)
        assert not site.state.offboarded


def test_a_rotated_key_signs_the_last_report(place: Place) -> None:
    with place.hold() as site:
        key = rotate_key(site).key
    go(place)
    site = place.open()
    raw = (place.path / "outbox" / f"{site.state.reports.seq}.report.json").read_bytes()
    assert signed_report.verify_report(raw, key).report.trust.offboarding is not None


@pytest.fixture
def fast(tmp_path: Path) -> Iterator[Path]:
    memory = Path("/dev/shm")
    folder = memory / f"waybill-{tmp_path.name}-{id(tmp_path)}" if memory.is_dir() else tmp_path / "fast"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def test_the_plug_is_pulled_anywhere(template: Place, fast: Path) -> None:
    """Before the entry nothing has ended; after it the same verb goes on, nothing is tried twice, one report is last.

    The process is gone; what it wrote is there.
    """
    shutil.copytree(template.path, fast / "before", symlinks=True)
    count = 0
    for at in range(1000):
        shutil.copytree(fast / "before", fast / "state", symlinks=True)
        place = copied(template, fast / "state")
        place.disk = PluggedDisk(at)
        try:
            go(place, "retired")
        except PulledPlugError:
            count += 1
            place.disk = QuickDisk()
            resume(place)
            check_ended(place)
            shutil.rmtree(fast / "state")
            continue
        check_ended(place)
        shutil.rmtree(fast / "state")
        break
    assert count > 40


def resume(place: Place) -> None:
    """What the verb does: agree again where it is needed, or go on."""
    with place.hold() as site:
        if not site.state.offboarded:
            ask_offboarding(site, "retired")
            agree_offboarding(site, place.people["ops-1"])
            end_access(site)
        finish_offboarding(site, place.clock.at)


def check_ended(place: Place) -> None:
    site = place.open()
    assert site.state.offboarding is not None
    assert site.state.offboarding.ended == OffboardDone(report=4, key="destroyed")
    assert tried(place) == {
        "bundle": ["refused"] * 3,
        "signature": ["refused"] * 3,
        "consignment": ["refused"],
        "request": ["refused"],
        "approval": ["refused"] * 3,
    }
    assert last(place).chain.seq == 4
    assert (place.path / EVIDENCE / "1.root.json").is_file()
    assert not list((place.path / "trust").iterdir())
    assert not (place.path / "keys" / SITE_KEY).exists()
    assert not [one for one in site.entries if isinstance(one.record.event, Alarm)]


@pytest.mark.slow
def test_whatever_is_lost_the_end_stays_the_end(template: Place, fast: Path) -> None:
    """Every state that a file system may leave: old, or ended for good; and never half a trust."""
    shutil.copytree(template.path, fast / "world", symlinks=True)
    shutil.copytree(template.path, fast / "before", symlinks=True)
    place = copied(template, fast / "world")
    disk = RecordingDisk(place.path)
    place.disk = disk
    go(place, "retired")
    recorded = recording(fast / "before", tuple(disk.ops), place.path)
    count = 0
    for _, crash in states(recorded, seen=set()):
        crash.materialise(fast / "state")
        after = copied(template, fast / "state")
        resume(after)
        check_ended(after)
        shutil.rmtree(fast / "state")
        count += 1
    assert count > 40


def test_a_way_back_may_still_be_agreed_to_elsewhere(place: Place) -> None:
    """The customer's own people answer for the customer's own way back; anything of a vendor beside it is refused."""
    go(place)
    desk = place.path.parent / "desk"
    site = place.open()
    write_request(
        site, approvable_of(site, ("b-1",)), ("b-1",), desk, load_driver, lambda _, __: {"review.txt": b"to read\n"}
    )
    sign_answer(open_request(desk), place.people["ops-1"], "approve", None, None)
    with pytest.raises(WaitingError):
        place.rollback(1)
    medium = str(place.path.parent / "3.tar")
    assert run(receive_command, place, str(desk), medium, code=5)["error"]["finding"] == "offboarded"
    shown = run(receive_command, place, str(desk))
    assert [(one["item"], one["person"], one["new"]) for one in shown["answers"]] == [("b-1", "ops-1", True)]
    assert place.rollback(1).error is None
    assert place.open().state.installs.current == 1


def test_who_is_asked_reads_what_ends_what_stays_and_what_is_for_ever(place: Place, tmp_path: Path) -> None:
    """At the site, and word for word the same at a desk."""
    for words, extra in (("the contract ended", ()), ("retired", ("its key is destroyed",))):
        with place.hold() as site:
            ask_offboarding(site, words)
        site = place.open()
        shown = json.loads(CliRunner().invoke(review_command, ["offboard", "--site", str(place.path), "--json"]).stdout)
        assert shown["title"] == "end of the vendor's access"
        work = shown["work"]
        assert work[0] == f"requested at {rfc3339(site.state.offboarding.asked_at)}, reason: {words}"  # type: ignore[union-attr]  # asked
        assert work[1].startswith(f"root 1 of {site.state.trust.vendor} is no longer trusted")
        kept = "data, images, backups, journal, the kept generations"
        assert f"stays: the software that runs (small 1.1.0), {kept}" in work
        text = CliRunner().invoke(review_command, ["offboard", "--site", str(place.path)]).stdout
        for one in ("it cannot be undone", "1.2.0 can no longer be installed", *extra):
            assert one in text.split("what will be done")[0], text
        assert ("its key is destroyed" in text) == bool(extra)
        desk = tmp_path / words.split()[0]
        args = ["offboard", "--out", str(desk), "--site", str(place.path)]
        assert CliRunner().invoke(review_command, args, catch_exceptions=False).exit_code == 0
        away = CliRunner().invoke(review_command, [str(desk), "--verbose"], catch_exceptions=False).stdout
        unfolded = " ".join(away.split())
        for line in work:
            assert " ".join(line.split()) in unfolded
        assert "it cannot be undone" in away.split("what will be done")[0]


def test_who_lets_a_report_leave_reads_what_leaves(place: Place) -> None:
    with place.hold() as site:
        write_report(site, site.disk, place.clock.at)
    site = place.open()
    state = site.state
    found = json.loads(
        CliRunner().invoke(review_command, [f"e-{state.reports.seq}", "--site", str(place.path), "--json"]).stdout
    )
    assert found["work"][0].startswith(f"report {state.reports.seq} leaves, ")
    assert found["work"][0].endswith(str(state.reports.head))
    assert any(one.startswith("reports from ") and "leave with it" in one for one in found["work"])
    assert "installed  small 1.1.0, confirmed" in found["work"]


def test_nothing_advises_to_receive_again_at_an_offboarded_site(place: Place) -> None:
    """A damaged blob and a damaged head: the way back is a backup, and what still works is named."""
    go(place)
    site = place.open()
    for folder in (place.path / "heads", site.blobs):
        for file in folder.iterdir():
            file.chmod(0o644)
            file.write_bytes(bytes(file.stat().st_size))
    shutil.rmtree(place.path / "generations" / "2")
    for command in (status_command, recover_command, rollback_command):
        result = CliRunner().invoke(command, ["--site", str(place.path)])
        assert result.exit_code not in (0, 1), result.output
        assert "waybill receive" not in result.output


@pytest.mark.parametrize("command", [verify_command, show_command])
def test_a_bundle_is_judged_by_no_root_of_a_vendor_without_access(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: click.Command
) -> None:
    """The bundle is of this very vendor, so nobody is told to compare fingerprints."""
    go(place)
    bundle = str(TWO.write(tmp_path / "again.tar"))
    ended = "this site trusts no root any more: the access of "
    shown = CliRunner().invoke(command, [bundle, "--site", str(place.path)])
    assert shown.exit_code == 4, shown.output
    assert ended in shown.output
    assert "hint: name a root that you trust instead of the site: --root ROOT" in shown.output
    assert "of another vendor" not in shown.output
    monkeypatch.setenv("WAYBILL_SITE", str(place.path))
    guessed = CliRunner().invoke(command, [bundle])
    assert guessed.exit_code == (4 if command is verify_command else 0), guessed.output
    assert f"not verified by the site {place.path}: " in guessed.output
    assert ended in guessed.output


def test_the_way_to_a_new_site_names_another_folder(place: Place) -> None:
    go(place)
    shown = CliRunner().invoke(report_command, ["--new", "--site", str(place.path)])
    assert shown.exit_code == 5, shown.output
    assert "make a site in another folder: `waybill enroll MEDIUM --site NEW`;" in shown.output


def test_check_of_an_item_says_that_the_access_ended(place: Place) -> None:
    go(place)
    result = CliRunner().invoke(check_command, ["r-1.2.0", "--site", str(place.path), "--json"])
    error = json.loads(result.stdout)["error"]
    assert (result.exit_code, error["finding"], error["where"]) == (5, "offboarded", "r-1.2.0")
    assert "run this command again" not in error["hint"]
    assert "still works: status" in error["hint"]
