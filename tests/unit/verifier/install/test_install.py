"""A site's life with real bundles: receive, approve, install, trial, way back, config, floor, refusals."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from manifests.documents import release as r
from manifests.documents.approval import verify_approval
from manifests.documents.plan import parse_plan
from manifests.trust.keys import PublicKey
from manifests.trust.private_keys import FileSigner, generate_key
from manifests.trust.root import Mark
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import (
    AttentionError,
    BusyError,
    DamagedError,
    HostError,
    InconsistentError,
    MalformedError,
    RefusedError,
    RolledBackError,
    TrialError,
    UntrustedError,
    UsageError,
    WaitingError,
    WaybillError,
)
from manifests.words.quantities import parse_size
from manifests.words.time import parse_time
from tests.faults.model import QuickDisk
from tests.place import ENDPOINTS, NAMES, Place, make_place
from tests.rootwork import listing
from tests.vendor import RELEASE, Vendor
from tests.waybill import NO_STATE, ROOT, waybill
from verifier.approval.queue import queue_text, waiting_items
from verifier.change.driver_steps import observe
from verifier.intake.enrolment import EnrollRequest, enroll, read_offer, read_people
from verifier.intake.enrolment_files import NewPerson
from verifier.reporting.history import history_lines
from verifier.runtime.drivers.driver import load_driver
from verifier.site.folder import find_site, open_site
from verifier.site.journal.events import Alarm, RevocationsInForce
from verifier.site.journal.installs import State

PROBE = r.Probe(name="up", tcp=r.TcpProbe(endpoint="api"))
SCHEMA = b"""{"type":"object","additionalProperties":false,"required":["replicas"],
"properties":{"replicas":{"type":"number","multipleOf":0.1},"name":{"type":"string"}}}"""
FIRST = Vendor(change={"probes": (PROBE,)})


def second(vendor: Vendor = FIRST, **change: object) -> Vendor:
    given: dict[str, object] = {"version": "1.1.0", "sequence": 2, "service": {"hello.txt": b"second\n"}, **change}
    return vendor.but(**given)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_place(tmp_path, FIRST, disk=QuickDisk())


def bundle(place: Place, vendor: Vendor) -> Path:
    return vendor.write(place.path.parent / f"{vendor.version}-{vendor.sequence}.tar")


def with_config(vendor: Vendor) -> Vendor:
    config = r.Config(schema=Blob(digest=digest_of(SCHEMA), size=len(SCHEMA)), version=1)
    return vendor.but(extra={"schema": SCHEMA}, change={**vendor.change, "config": config})


def hello(place: Place) -> bytes:
    return (place.path / "srv" / "app" / "current" / "hello.txt").read_bytes()


# --- the straight way -----------------------------------------------------------------------------------------------


def test_install_upgrade_and_back(place: Place) -> None:
    ended = place.bring(bundle(place, FIRST))
    assert ended.error is None
    assert (place.path / "current").readlink() == Path("generations/1")
    assert hello(place) == b"hello\n"
    assert place.bring(bundle(place, second())).error is None
    assert hello(place) == b"second\n"
    state = place.open().state
    assert (state.installs.current, place.open().former(), state.mark and state.mark.sequence) == (2, 1, 2)
    assert place.rollback(person="ops-1").error is None
    assert hello(place) == b"hello\n"
    state = place.open().state
    assert (state.installs.current, place.open().former()) == (1, 0)
    assert [str(one.state) for one in state.installs.generations] == ["settled"] * 2
    assert state.installs.rollbacks[-1].automatic is False
    assert place.told == ["install", "install", "rollback"]
    assert not [one.problem for one in observe(place.open(), load_driver, thorough=True) if one.problem]


def test_what_failed_goes_back_by_itself_and_is_tried_once_more_with_the_same_approvals(place: Place) -> None:
    place.bring(bundle(place, FIRST))
    place.health["up"] = "failing"
    ended = place.bring(bundle(place, second()))
    assert isinstance(ended.error, RolledBackError)
    assert ended.error.exit_code == 10
    assert "up: as the test wants it" in ended.error.problem
    assert "nothing was changed" not in str(ended.error) + ended.error.remedy
    assert hello(place) == b"hello\n"
    state = place.open().state
    assert (state.installs.current, state.installs.next_generation, state.floor and state.floor.sequence) == (1, 3, 1)
    assert state.installs.rollbacks[-1].automatic
    # The probes of the generation that runs again were run on it.
    assert [(one.probe, one.generation, one.state) for one in state.installs.running_health] == [("up", 1, "failing")]
    assert "but its own probes do not pass: up" in ended.error.problem
    place.health.clear()
    (waiting,) = waiting_items(place.open())
    assert waiting.status is not None
    assert (waiting.status.met, waiting.status.repeated, waiting.status.void) == (True, 2, ())
    assert "count for one more attempt" in queue_text((waiting,), place.clock.at)
    ended = place.install("r-1.1.0")
    assert ended.error is None
    assert ended.generation is not None
    assert ended.generation.number == 3
    # The approvals that were counted are named by the generation.
    (signed,) = (verify_approval(place.open().document(one), place.open().policy) for one in ended.generation.approvals)
    assert signed.approval.plan == state.installs.generations[-1].plan


def failed_trial(place: Place) -> None:
    place.bring(bundle(place, FIRST))
    place.health["up"] = "failing"
    assert isinstance(place.bring(bundle(place, second())).error, RolledBackError)


def test_after_two_failed_trials_the_people_are_asked_again(place: Place) -> None:
    failed_trial(place)
    assert isinstance(place.install("r-1.1.0").error, RolledBackError)
    place.health.clear()
    with pytest.raises(WaitingError, match="waits for 1 operator"):
        place.install("r-1.1.0")
    place.approve("r-1.1.0")
    assert place.install("r-1.1.0").error is None


def test_after_a_failed_trial_a_rejection_counts_too(place: Place) -> None:
    failed_trial(place)
    place.approve("r-1.1.0", verdict="reject")
    with pytest.raises(WaitingError):
        place.install("r-1.1.0")


@pytest.mark.parametrize("what", ["site.yaml", "policy", "another change"])
def test_after_a_failed_trial_something_else_changed(place: Place, what: str) -> None:
    failed_trial(place)
    place.health.clear()
    if what == "site.yaml":
        yaml = place.path / "site.yaml"
        yaml.write_text(yaml.read_text().replace("target: other", "target: vm"))
    elif what == "policy":
        place.put_policy(msgspec.structs.replace(place.open().policy, number=2), "ops-1")
    else:
        with place.hold() as site:
            site.record(RevocationsInForce(version=1, digest=site.keep_document(listing(1, keys=("f" * 64,)))))
    with pytest.raises(WaitingError, match="waits for 1 operator"):
        place.install("r-1.1.0")


def test_a_trial_that_a_person_ended_is_not_repeated(place: Place) -> None:
    on_trial(place)
    assert place.rollback().error is None
    with pytest.raises(WaitingError, match="waits for 1 operator"):
        place.install("r-1.1.0")


def test_a_failed_first_install_leaves_nothing(place: Place) -> None:
    place.health["up"] = "failing"
    ended = place.bring(bundle(place, FIRST))
    assert isinstance(ended.error, RolledBackError)
    assert not (place.path / "current").exists()
    assert not (place.path / "srv" / "app" / "current").exists()
    assert place.open().state.floor is None
    place.health.clear()
    (waiting,) = waiting_items(place.open())
    contract = FIRST.release()[0].contract.digest
    assert waiting.then == f"install r-1.0.0 --contract {contract}"
    assert place.install("r-1.0.0").error is None


def test_the_floor_rises_only_when_confirmed_and_never_falls(place: Place) -> None:
    place.bring(bundle(place, FIRST))
    place.health["up"] = "failing"
    place.bring(bundle(place, second(floor=2)))
    floor = place.open().state.floor
    assert floor is not None
    assert floor.sequence == 1
    place.health.clear()
    place.approve("r-1.1.0")
    place.install("r-1.1.0")
    floor = place.open().state.floor
    assert floor is not None
    assert floor.sequence == 2
    with pytest.raises(RefusedError, match="below the floor 2"):
        place.rollback(1, person="ops-1")
    assert place.bring(bundle(place, second(version="1.2.0", sequence=3, floor=1))).error is None
    floor = place.open().state.floor
    assert floor is not None
    assert floor.sequence == 2


def test_a_bug_in_a_driver_leads_back_too(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from verifier.runtime.drivers.files import FilesDriver

    place.bring(bundle(place, FIRST))
    original = FilesDriver.activate

    def activate(self: FilesDriver, plan: object, context: object) -> None:
        if context.generation == 2:  # type: ignore[attr-defined]  # a DriverContext
            raise KeyError("a bug")
        original(self, plan, context)  # type: ignore[arg-type]  # as above

    monkeypatch.setattr(FilesDriver, "activate", activate)
    ended = place.bring(bundle(place, second()))
    assert isinstance(ended.error, RolledBackError)
    assert ended.error.finding == "bug"
    assert hello(place) == b"hello\n"


def test_when_even_the_way_back_fails_a_person_decides(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from verifier.runtime.drivers.files import FilesDriver

    place.bring(bundle(place, FIRST))
    place.receive(bundle(place, second()))
    place.approve("r-1.1.0")
    original = FilesDriver.activate

    def activate(self: FilesDriver, plan: object, context: object) -> None:
        raise HostError("the disk is gone")

    monkeypatch.setattr(FilesDriver, "activate", activate)
    ended = place.install("r-1.1.0")
    assert isinstance(ended.error, InconsistentError)
    assert ended.error.exit_code == 12
    with pytest.raises(InconsistentError):
        place.install("r-1.1.0")
    # A person's word is one more try, by either verb; nobody's word is none.
    assert isinstance(place.rollback(1).error, InconsistentError)
    before = place.open().state.seq
    assert isinstance(place.recover(due=True)[1].error, InconsistentError)
    assert place.open().state.seq == before
    _, again = place.recover()
    assert isinstance(again.error, InconsistentError)
    monkeypatch.setattr(FilesDriver, "activate", original)
    what, mended = place.recover()
    assert isinstance(mended.error, RolledBackError)
    assert "rolled-back" in what
    assert hello(place) == b"hello\n"


def test_after_a_crash_at_the_switch_another_install_begins_from_rest(place: Place) -> None:
    """The link had moved, its outcome was not written; the operator does not run `recover` but installs another."""
    from tests.faults.model import PluggedDisk, PulledPlugError

    place.bring(bundle(place, FIRST))
    third = second(version="1.2.0", sequence=3, service={"hello.txt": b"third\n"})
    for vendor in (second(), third):
        place.approve(place.receive(bundle(place, vendor)).item)
    before = place.path.rename(place.path.with_name("before"))
    for at in range(200):
        shutil.copytree(before, place.path, symlinks=True)
        place.disk = PluggedDisk(at)
        with pytest.raises(PulledPlugError):
            place.install("r-1.1.0")
        if place.open().pointed() == 2:
            break
        shutil.rmtree(place.path)
    now = place.open().state.installs.transaction
    assert now is not None
    assert (now.state, now.act) == (State.STAGED, "switch")
    place.disk = QuickDisk()
    # The former install is finished first, so the plan that was approved is not the one that would be done now.
    with pytest.raises(WaitingError):
        place.install("r-1.2.0")
    assert hello(place) == b"second\n"
    place.approve("r-1.2.0")
    assert place.install("r-1.2.0").error is None
    assert hello(place) == b"third\n"


def test_a_number_that_was_only_staged_is_used_by_the_next(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from verifier.runtime.drivers.files import FilesDriver

    place.bring(bundle(place, FIRST))
    for vendor in (second(), second(version="1.2.0", sequence=3, service={"hello.txt": b"third\n"})):
        place.approve(place.receive(bundle(place, vendor)).item)
    original = FilesDriver.stage

    def stage(self: FilesDriver, plan: object, context: object) -> None:
        original(self, plan, context)  # type: ignore[arg-type]  # as the machine gives them
        raise HostError("power is low")

    monkeypatch.setattr(FilesDriver, "stage", stage)
    with pytest.raises(HostError, match="power is low"):
        place.install("r-1.1.0")
    monkeypatch.setattr(FilesDriver, "stage", original)
    assert hello(place) == b"hello\n"
    ended = place.install("r-1.2.0")
    assert ended.error is None
    assert ended.generation is not None
    assert ended.generation.number == 2
    assert hello(place) == b"third\n"


# --- a person ends the trial ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Liar(FileSigner):
    """Names somebody else's key, as any program that signs could."""

    claimed: PublicKey

    @property
    def public(self) -> PublicKey:
        return self.claimed


def on_trial(place: Place) -> None:
    place.bring(bundle(place, FIRST))
    trial = r.Trial(at_most_seconds=5, confirm="person")
    ended = place.bring(bundle(place, second(change={**FIRST.change, "trial": trial})))
    assert isinstance(ended.error, TrialError)
    assert ended.error.exit_code == 11


def test_a_person_confirms(place: Place) -> None:
    on_trial(place)
    with pytest.raises(RefusedError, match="on trial"):
        place.install("r-1.0.0")
    with pytest.raises(UsageError, match="a trial is confirmed by operator"):
        place.confirm()
    place.people["stranger"] = generate_key()
    with pytest.raises(RefusedError, match="belongs to no person"):
        place.confirm("stranger")
    assert place.recover()[0] == "nothing was unfinished"
    place.people["liar"] = Liar(generate_key().key, place.people["ops-1"].public)
    with pytest.raises(UntrustedError, match="signature does not match"):
        place.confirm("liar")
    assert place.open().state.floor == Mark(epoch=1, sequence=1)
    ended = place.confirm("ops-1")
    assert ended.error is None
    site = place.open()
    (said,) = (
        one for one in history_lines(entry.record for entry in site.entries) if "confirmed by person" in one.words
    )
    assert said.person == "ops-1 (operator)"
    inputs = dict(said.inputs)
    assert inputs["keyid"] == place.people["ops-1"].public.keyid
    word = verify_approval(site.document(inputs["envelope"]), site.policy)
    plan = parse_plan(site.document(word.approval.plan))
    assert (plan.action, plan.generation, plan.kinds) == ("confirm", 2, ())
    assert [plan.subject] == [site.state.installs.generations[-1].plan]
    assert place.open().state.installs.transaction is not None
    with pytest.raises(RefusedError, match="no trial waits to be confirmed"):
        place.confirm("ops-1")


def test_out_of_a_trial_nobody_needs_to_agree(place: Place) -> None:
    on_trial(place)
    with pytest.raises(RefusedError, match="a rollback leads to generation 1"):
        place.rollback(2)
    ended = place.rollback()
    assert ended.error is None
    assert hello(place) == b"hello\n"
    assert place.open().state.installs.rollbacks[-1].automatic is False


# --- approvals ------------------------------------------------------------------------------------------------------


def test_nothing_is_installed_without_the_people(place: Place) -> None:
    place.receive(bundle(place, FIRST))
    with pytest.raises(WaitingError, match="waits for 1 operator"):
        place.install("r-1.0.0")
    place.approve("r-1.0.0")
    place.approve("r-1.0.0", verdict="reject")
    with pytest.raises(WaitingError):
        place.install("r-1.0.0")
    assert not (place.path / "current").exists()


def test_a_stranger_and_the_vendor_cannot_approve(place: Place, tmp_path: Path) -> None:
    place.receive(bundle(place, FIRST))
    place.people["stranger"] = generate_key()
    with pytest.raises(RefusedError, match="belongs to no person of policy 1"):
        place.approve("r-1.0.0", "stranger")
    pub = tmp_path / "vendor.pub"
    pub.write_text(RELEASE.public.pem)
    offer = read_offer(bundle(place, FIRST), FIRST.pin().digest, None)
    with pytest.raises(RefusedError, match="is one of the vendor's"):
        enroll(EnrollRequest(offer, NAMES, {"v": NewPerson(pub)}, tmp_path / "x"), QuickDisk(), place.clock.host())
    assert not (tmp_path / "x").exists()


def test_approved_on_tuesday_installed_on_saturday(place: Place) -> None:
    """A week of clock, probes and reports does not move the plan; a change of site.yaml does."""
    place.bring(bundle(place, FIRST))
    place.receive(bundle(place, second()))
    place.approve("r-1.1.0")
    place.clock.sleep(5 * 86400)
    with place.hold() as site:
        from verifier.reporting.report_write import write_report

        write_report(site, site.disk, place.clock.at)
    place.recover()
    assert place.open().state.reports.seq == 1
    yaml = place.path / "site.yaml"
    text = yaml.read_text()
    yaml.write_text(text.replace(f"{ENDPOINTS} ", 'endpoints: {api: "http://127.0.0.1:1"}'))
    with pytest.raises(WaitingError):
        place.install("r-1.1.0")
    yaml.write_text(text)
    assert place.install("r-1.1.0").error is None


def test_a_changed_approval_on_disk_is_found(place: Place) -> None:
    place.receive(bundle(place, FIRST))
    place.approve("r-1.0.0")
    envelope = place.open().state.trust.verdicts[-1].envelope
    path = place.path / "journal" / "documents" / envelope[7:]
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with pytest.raises(WaitingError, match=r"void: ops-1, .*has digest.*; it has to be given again"):
        place.install("r-1.0.0")
    place.approve("r-1.0.0")
    assert place.install("r-1.0.0").error is None


def test_a_rejection_that_cannot_be_read_still_counts(place: Place) -> None:
    place.receive(bundle(place, FIRST))
    place.approve("r-1.0.0", verdict="reject")
    envelope = place.open().state.trust.verdicts[-1].envelope
    (place.path / "journal" / "documents" / envelope[7:]).unlink()
    with pytest.raises(DamagedError, match="the document is missing"):
        place.install("r-1.0.0")


def test_a_policy_lowered_on_the_host_changes_nothing(place: Place) -> None:
    place.receive(bundle(place, FIRST))
    policy = place.path / "policy.yaml"
    stranger = generate_key()
    (place.path / "people" / "root.pub").write_text(stranger.public.pem)
    policy.write_text(policy.read_text().replace("people/ops-1.pub", "people/root.pub"))
    place.people["root"] = stranger
    with pytest.raises(RefusedError, match="belongs to no person"):
        place.approve("r-1.0.0", "root")
    items = {one.item: one for one in waiting_items(place.open())}
    assert "policy.yaml has number 1; the next number is 2" in (items["policy"].problem or "")
    policy_document = place.path / "journal" / "documents" / place.open().state.trust.policy[7:]
    policy_document.write_bytes(policy_document.read_bytes().replace(b"operator", b"oberator"))
    with pytest.raises(DamagedError, match="has digest"):
        place.approve("r-1.0.0")


def test_the_first_install_names_the_contract(place: Place) -> None:
    place.receive(bundle(place, FIRST))
    place.approve("r-1.0.0")
    with pytest.raises(RefusedError, match="the release brings contract sha256:"):
        place.install("r-1.0.0", contract=digest_of(b"another"))
    from verifier.install.install import InstallRequest, install

    with place.hold() as site, pytest.raises(WaitingError, match="small-telemetry version 1"):
        install(site, InstallRequest(("r-1.0.0",), place._tell, contract=lambda _: None), place.tools())
    assert place.install("r-1.0.0").error is None
    place.receive(bundle(place, second()))
    place.approve("r-1.1.0")
    assert place.install("r-1.1.0", contract=digest_of(b"not asked again")).error is None


# --- config ---------------------------------------------------------------------------------------------------------


def configure(place: Place, text: str) -> None:
    yaml = place.path / "site.yaml"
    lines = [f"config: {text}" if line.startswith("config:") else line for line in yaml.read_text().splitlines()]
    yaml.write_text("\n".join(lines) + "\n")


def test_config_is_judged_by_the_schema_before_anything_changes(place: Place) -> None:
    first = with_config(FIRST)
    place.receive(bundle(place, first))
    for text, problem in (
        ("{}", "'replicas' is a required property"),
        ("{replicas: many}", "replicas: 'many' is not of type 'number'"),
        ("{replicas: 2, password: x}", "additional properties are not allowed"),
        ("{replicas: 0.25}", "is not a multiple of"),
    ):
        configure(place, text)
        with pytest.raises(RefusedError) as caught:
            place.approve("r-1.0.0")
        assert problem in caught.value.problem
        assert "site.yaml:" in caught.value.where
    assert place.open().state.trust.verdicts == ()
    configure(place, "{replicas: 0.3}")
    place.approve("r-1.0.0")
    assert place.install("r-1.0.0").error is None
    assert (place.path / "generations" / "1" / "config.json").read_bytes() == b'{"replicas":0.3}'
    assert (place.path / "generations" / "1" / "config.json").stat().st_mode & 0o007 == 0


def test_a_new_config_is_a_new_generation_and_comes_back_with_the_old_one(place: Place) -> None:
    configure(place, "{replicas: 1}")
    place.bring(bundle(place, with_config(FIRST)))
    assert [one.item for one in waiting_items(place.open())] == []
    configure(place, "{replicas: 2}")
    assert [(one.item, one.kinds) for one in waiting_items(place.open())] == [("config", ("config",))]
    place.approve("config")
    assert place.install("config").error is None
    state = place.open().state
    assert (state.installs.current, {one.release for one in state.installs.generations}) == (
        2,
        {state.installs.generations[0].release},
    )
    config = place.path / "srv" / "app"
    assert b'"replicas":2' in next(config.glob("2.config.json")).read_bytes()
    assert place.rollback(person="ops-1").error is None
    assert [one.item for one in waiting_items(place.open())] == ["config"]
    running = place.open().state.installs.running
    assert running is not None
    assert running.config == digest_of(b'{"replicas":1}')


def test_a_config_that_would_reach_nobody_is_refused(place: Place) -> None:
    configure(place, "{replicas: 1}")
    place.receive(bundle(place, FIRST))
    with pytest.raises(RefusedError, match="the release has no schema for it"):
        place.approve("r-1.0.0")


def test_a_schema_that_refers_elsewhere_fetches_nothing(place: Place) -> None:
    schema = b'{"$ref":"http://127.0.0.1:1/schema.json"}'
    config = r.Config(schema=Blob(digest=digest_of(schema), size=len(schema)), version=1)
    with pytest.raises(MalformedError, match="outside of the file") as caught:
        place.receive(bundle(place, FIRST.but(extra={"schema": schema}, change={**FIRST.change, "config": config})))
    assert caught.value.finding == "schema-remote-ref"
    assert waiting_items(place.open()) == ()


def test_site_yaml_cannot_become_another_site(place: Place) -> None:
    place.receive(bundle(place, FIRST))
    yaml = place.path / "site.yaml"
    text = yaml.read_text()
    yaml.write_text(text.replace("/east", "/west"))
    with pytest.raises(RefusedError, match="this site is enrolled as northern-grid/small/production/east"):
        place.approve("r-1.0.0")
    yaml.write_text(text.replace('channel: "stable"', 'channel: "beta"'))
    with pytest.raises(RefusedError, match="says channel beta, the release is of channel stable"):
        place.approve("r-1.0.0")


# --- what comes in --------------------------------------------------------------------------------------------------


def test_receive_knows_bundles_by_content(place: Place, tmp_path: Path) -> None:
    from verifier.intake.bundles import find_bundle

    folder = tmp_path / "stick" / "DIR"
    folder.mkdir(parents=True)
    FIRST.write(folder / "IMG_0001.JPG")
    (folder / "notes.tar").write_bytes(b"not a bundle")
    (folder / "link.tar").symlink_to(folder / "IMG_0001.JPG")
    assert find_bundle(tmp_path / "stick") == folder / "IMG_0001.JPG"
    assert place.receive(folder / "IMG_0001.JPG").new
    assert not place.receive(folder / "IMG_0001.JPG").new
    with pytest.raises(WaybillError, match="holds no bundle"):
        find_bundle(place.path / "people")


def test_two_releases_under_one_sequence_are_an_alarm(place: Place) -> None:
    place.receive(bundle(place, FIRST))
    other = FIRST.but(service={"hello.txt": b"another\n"})
    path = other.write(place.path.parent / "other.tar")
    with pytest.raises(RefusedError, match="was received before with digest"):
        place.receive(path)
    with pytest.raises(RefusedError):
        place.receive(path)
    assert [(one.code, type(one)) for one in place.open().state.alarms] == [("sequence-twice", Alarm)]


@pytest.mark.parametrize("change", [{"audience": r.Audience(customers=("other",), environments=("production",))}])
def test_a_release_for_others_is_refused(place: Place, change: dict[str, object]) -> None:
    with pytest.raises(RefusedError, match="this site is northern-grid in production"):
        place.receive(bundle(place, FIRST.but(**change)))
    assert place.open().state.installs.releases == ()


def test_a_medium_that_changed_since_receive_changes_nothing(place: Place) -> None:
    path = bundle(place, FIRST)
    place.receive(path)
    place.approve("r-1.0.0")
    good = path.read_bytes()
    at = good.index(b"hello\n")
    path.write_bytes(good[:at] + b"HELLO\n" + good[at + 6 :])
    with pytest.raises(DamagedError, match=r"is not what the release says, bytes \d+ to \d+"):
        place.install("r-1.0.0")
    assert not (place.path / "current").exists()
    assert not list(place.open().blobs.glob("*.part"))
    path.write_bytes(good)
    assert place.install("r-1.0.0").error is None


def test_a_medium_that_is_gone(place: Place) -> None:
    path = bundle(place, FIRST)
    place.receive(path)
    place.approve("r-1.0.0")
    moved = path.rename(path.with_name("moved.tar"))
    with pytest.raises(DamagedError, match="the bundle is not at"):
        place.install("r-1.0.0")
    assert place.install("r-1.0.0", media=moved).error is None


def test_kept_at_receive_the_medium_is_not_needed(place: Place) -> None:
    path = bundle(place, FIRST)
    place.receive(path, keep=True)
    place.approve("r-1.0.0")
    path.unlink()
    assert place.install("r-1.0.0").error is None


def test_only_what_is_missing_is_copied_and_damage_in_the_store_is_mended(place: Place) -> None:
    place.bring(bundle(place, FIRST))
    blobs = place.open().blobs
    shared = blobs / digest_of(b"{}")[7:]
    assert shared.exists()
    inode = shared.stat().st_ino
    contract = blobs / FIRST.release()[0].contract.digest[7:]
    contract.chmod(0o644)
    contract.write_bytes(b"damaged")
    ended = place.bring(bundle(place, second()))
    assert ended.error is None
    assert shared.stat().st_ino == inode
    assert digest_of(contract.read_bytes())[7:] == contract.name


def test_a_practice_root_needs_practice(tmp_path: Path) -> None:
    vendor = FIRST.but(practice=True)
    place = make_place(tmp_path, vendor, disk=QuickDisk())
    assert place.open().state.trust.practice
    place.bring(bundle(place, vendor))
    offer = read_offer(bundle(place, vendor), vendor.pin().digest, None)
    pub = tmp_path / "ops-1.pub"
    with pytest.raises(UntrustedError, match="the root is a practice root"):
        enroll(EnrollRequest(offer, NAMES, {"o": NewPerson(pub)}, tmp_path / "x"), QuickDisk(), place.clock.host())
    offer = read_offer(bundle(place, FIRST), FIRST.pin().digest, None)
    with pytest.raises(RefusedError, match="the root is a real one"):
        enroll(
            EnrollRequest(offer, NAMES, {"o": NewPerson(pub)}, tmp_path / "x", practice=True),
            QuickDisk(),
            place.clock.host(),
        )


def test_a_driver_that_the_site_lacks_is_named_before_anybody_agrees(place: Place) -> None:
    yaml = place.path / "site.yaml"
    yaml.write_text(yaml.read_text().replace("  store: {}\n", ""))
    place.receive(bundle(place, FIRST))
    with pytest.raises(RefusedError, match=r"needs the driver 'store'; .* settings for files"):
        place.approve("r-1.0.0")


# --- the folder -----------------------------------------------------------------------------------------------------


def test_enrolment(place: Place) -> None:
    path = place.path
    assert (path / "keys" / "site.key").stat().st_mode & 0o777 == 0o600
    assert (path / "keys").stat().st_mode & 0o777 == 0o700
    policy = place.open().policy
    assert {str(needs) for kind, needs in policy.rules.items() if kind != "export"} == {"{'operator': 1}"}
    assert policy.proposer_counts
    assert (path / "reserve").stat().st_size == parse_size("16MiB")
    assert place.open().signer().public == place.open().state.site_key
    assert not list(path.parent.glob(".site*"))
    offer = read_offer(bundle(place, FIRST), FIRST.pin().digest, None)
    with pytest.raises(RefusedError, match="exists and is not empty"):
        enroll(
            EnrollRequest(offer, NAMES, {"o": NewPerson(path.parent / "ops-1.pub")}, path),
            QuickDisk(),
            place.clock.host(),
        )
    with pytest.raises(UntrustedError):
        read_offer(bundle(place, FIRST), digest_of(b"another root"), None)


def test_enrolment_needs_somebody() -> None:
    with pytest.raises(UsageError, match="is not NAME=FILE") as caught:
        read_people(("ops-1",))
    assert caught.value.remedy.startswith("waybill enroll MEDIUM --person ops-1=ops-1.pub")
    with pytest.raises(UsageError, match="is named twice"):
        read_people(("a=b", "security:a=c"))
    with pytest.raises(UsageError, match="is not NAME=FILE"):
        read_people((":a=b",))
    assert read_people(("a=b", "security:c=d")) == {"a": NewPerson(Path("b")), "c": NewPerson(Path("d"), "security")}


def test_the_sites_of_the_system(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = "from verifier.site.folder import state_folders; print(*state_folders({'HOME': '/a'}))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "/var/lib/waybill /a/.local/state/waybill\n"
    shutil.copytree(place.path, tmp_path / "system" / "east", symlinks=True)
    (tmp_path / "nowhere").mkdir()
    monkeypatch.setattr("verifier.site.folder.SYSTEM_STATE", tmp_path / "system")
    assert find_site(None, {}, tmp_path / "nowhere") == tmp_path / "system" / "east"


def test_a_site_of_this_host_is_found_by_no_test(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no site found") as caught:
        find_site(None, os.environ, tmp_path)
    assert "/var/lib" not in caught.value.problem
    done = waybill("status", cwd=tmp_path)
    assert done.code == 2 and "/var/lib" not in done.err and str(NO_STATE) in done.err


def test_finding_the_site(place: Place, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    nowhere.mkdir()
    assert find_site(place.path, {}, nowhere) == place.path
    assert find_site(None, {"WAYBILL_SITE": str(place.path)}, nowhere) == place.path
    assert find_site(None, {}, place.path) == place.path
    state = {"XDG_STATE_HOME": str(tmp_path / "state")}
    with pytest.raises(UsageError, match=f"looked at --site, WAYBILL_SITE.*{nowhere}.*{tmp_path}/state/waybill"):
        find_site(None, state, nowhere)
    (tmp_path / "state" / "waybill").mkdir(parents=True)
    shutil.copytree(place.path, tmp_path / "state" / "waybill" / "one", symlinks=True)
    assert find_site(None, state, nowhere) == tmp_path / "state" / "waybill" / "one"
    shutil.copytree(place.path, tmp_path / "state" / "waybill" / "two", symlinks=True)
    with pytest.raises(UsageError, match="there are 2 sites"):
        find_site(None, state, nowhere)
    with pytest.raises(UsageError, match="is not a site"):
        find_site(nowhere, {}, nowhere)


def test_two_at_once(place: Place) -> None:
    place.receive(bundle(place, FIRST))
    with place.hold("install"), pytest.raises(BusyError, match=r"`waybill install` of ops1 \(process \d+") as caught:
        place.approve("r-1.0.0")
    assert caught.value.exit_code == 13
    place.approve("r-1.0.0")


def test_a_dead_holder_holds_nothing(place: Place) -> None:
    """The lock is the kernel's: a process that was killed has let go, whatever its file says."""
    code = (
        "import sys, os, signal\n"
        "from pathlib import Path\n"
        "from verifier.site.disk import Disk\n"
        "from verifier.site.host import this_host\n"
        "from verifier.site.lock import hold_site\n"
        "with hold_site(Path(sys.argv[1]), Disk(), this_host(), 'install'):\n"
        "    print('held', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(place.path)], capture_output=True, text=True, cwd=Path(__file__).parents[4]
    )
    assert (done.stdout, done.returncode) == ("held\n", -9)
    with place.hold():
        pass


def test_reading_needs_no_write(place: Place) -> None:
    place.bring(bundle(place, FIRST))
    before = {path: path.lstat().st_mtime_ns for path in place.path.rglob("*")}
    site = open_site(place.path, ReadOnly(), place.clock.host())
    waiting_items(site)
    observe(site, load_driver)
    assert {path: path.lstat().st_mtime_ns for path in place.path.rglob("*")} == before


class ReadOnly(QuickDisk):
    """Nothing may be changed."""

    def _effect(self, kind: str, path: Path, act: object) -> object:  # type: ignore[override]  # never returns
        raise AssertionError(f"{kind} {path}")


def test_too_little_space_is_refused_with_numbers_before_the_first_write(place: Place) -> None:
    from verifier.site.disk import Space

    place.receive(bundle(place, FIRST))
    place.approve("r-1.0.0")
    seq = place.open().state.seq

    class Small(QuickDisk):
        left = Space(device=1, bytes=1 << 20, inodes=10_000, block=4096)

        def space(self, path: Path) -> Space:
            return self.left

    small = Small()
    place.disk = small
    with pytest.raises(HostError, match=r"needs 4\.\d MiB \(\d+ bytes\), 1\.0 MiB \(1048576 bytes\) are free"):
        place.install("r-1.0.0")
    small.left = Space(device=1, bytes=1 << 30, inodes=20, block=4096)
    with pytest.raises(HostError, match=r"needs \d+ new files, this file system has room for 20"):
        place.install("r-1.0.0")
    assert place.open().state.seq == seq


def test_the_report_that_cannot_be_written_does_not_hide_the_outcome(place: Place) -> None:
    def fails(_: object, __: str) -> Path:
        raise HostError("no space left on device", where="outbox")

    place.tell = fails
    ended = place.bring(bundle(place, FIRST))
    assert isinstance(ended.error, AttentionError)
    assert ended.error.exit_code == 14
    assert place.open().state.installs.current == 1


def test_old_generations_are_cleared_away_and_their_blobs_with_them(place: Place) -> None:
    yaml = place.path / "site.yaml"
    yaml.write_text(yaml.read_text().replace("generations: 3", "generations: 2"))
    for number in range(1, 6):
        version = second(version=f"1.{number}.0", sequence=number, service={"hello.txt": b"%d\n" % number})
        assert place.bring(bundle(place, version)).error is None
    kept = sorted(path.name for path in (place.path / "generations").iterdir())
    assert kept == ["4", "5"]
    blobs = place.open().blobs
    assert not (blobs / digest_of(b"1\n")[7:]).exists()
    assert (blobs / digest_of(b"4\n")[7:]).exists()
    assert place.rollback(person="ops-1").error is None
    with pytest.raises(RefusedError, match="generation 2 is no longer kept") as caught:
        place.rollback(2, person="ops-1")
    assert caught.value.remedy == "choose a kept generation; run `waybill status` to list them"


def test_a_damaged_former_generation_is_no_way_back(place: Place) -> None:
    place.bring(bundle(place, FIRST))
    place.bring(bundle(place, second()))
    blob = place.open().blobs / digest_of(b"hello\n")[7:]
    blob.chmod(0o644)
    blob.write_bytes(b"hallo\n")
    with pytest.raises(DamagedError, match=r"1 blob is missing or damaged: sha256:5891b5b5.*files service"):
        place.rollback(person="ops-1")
    assert hello(place) == b"second\n"


def test_a_generation_edited_on_disk_is_found(place: Place) -> None:
    place.bring(bundle(place, FIRST))
    settings = place.path / "generations" / "1" / "settings.json"
    settings.write_bytes(settings.read_bytes().replace(b"srv", b"etc"))
    place.receive(bundle(place, second()))
    with pytest.raises(DamagedError, match=r"the file has digest sha256:[0-9a-f]{64}, expected sha256:"):
        place.approve("r-1.1.0")


def test_no_such_item(place: Place) -> None:
    for item in ("r-9.9.9", "x", "b-7"):
        with pytest.raises(WaybillError):
            place.install(item)


def test_time_moves_only_so_far(place: Place) -> None:
    place.bring(bundle(place, FIRST))
    assert place.open().state.trust.time_floor == parse_time("2026-01-02T03:04:05Z")
    far = second(change={**FIRST.change, "issued_at": "2099-01-01T00:00:00Z"})
    assert place.bring(bundle(place, far)).error is None
    assert place.open().state.trust.time_floor == parse_time("2026-01-02T03:04:05Z")
