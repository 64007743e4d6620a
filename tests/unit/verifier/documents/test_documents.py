"""`show` and `verify` of every signed document: who vouches for it, and what is no reason to believe it."""

import base64
import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from content.bundle.head import open_head
from manifests.documents.closure import STEPS, Closure, ClosureStep, KeptReports, sign_closure
from manifests.documents.consignment import Request
from manifests.documents.report import Acknowledged
from manifests.trust.envelope_writer import encode_revocations, encode_root, seal
from manifests.trust.private_keys import Signer, generate_key
from manifests.trust.revocations import REVOCATIONS_TYPE, Revocations
from manifests.trust.root import ROOT_TYPE, Root
from manifests.words.canonical import encode
from manifests.words.errors import WaybillError
from manifests.words.fingerprint import as_words
from tests.authorisations import authorisation, carried, sealed
from tests.consignments import consignment_for, signed
from tests.faults.model import QuickDisk
from tests.place import Place, make_place
from tests.vendor import CONSIGNMENT, RELEASE, ROOT, SECOND, STRANGER, Vendor, derived
from verifier.approval.approve import sign_answer
from verifier.approval.items import approvable_of
from verifier.approval.request_reader import open_request
from verifier.approval.request_writer import write_request
from verifier.commands.show import show_command
from verifier.commands.verify import verify_command
from verifier.documents.registry import document_data, document_text, judge_document, read_document
from verifier.documents.site_view import find_judging_site
from verifier.documents.values import DocumentJudge
from verifier.reporting.key_change import rotate_key
from verifier.reporting.report_write import write_report
from verifier.runtime.drivers.driver import load_driver
from verifier.site.judging import site_anchor
from verifier.site.outbox import enrolment_path, report_path

ONE = Vendor(version="1.0.0", sequence=1)
TWO = ONE.but(version="1.1.0", sequence=2, service={"hello.txt": b"two\n"})


@dataclass
class World:
    """A site, its vendor's papers, and one file of every kind."""

    folder: Path
    place: Place
    files: dict[str, Path] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        return self.files["root"]

    def write(self, name: str, data: bytes) -> Path:
        self.files[name] = self.folder / f"{name}.json"
        self.files[name].write_bytes(data)
        return self.files[name]

    def trust(self, kind: str) -> tuple[str, ...]:
        """Options that name whom to trust for a file of that kind, without a site."""
        if kind == "report":
            return ("--enrolment", str(self.files["enrolment"]))
        if kind == "enrolment":
            return ("--fingerprint", as_words(f"sha256:{self.place.open().state.site_key.keyid}"))
        if kind in ("answer", "approval"):
            return ("--site", str(self.place.path))
        return ("--root", str(self.root))


# How `show` and `verify` name other trust for a file of that kind, if not with --root.
OTHER_TRUST = {
    "report": "--enrolment ENROLMENT",
    "enrolment": "--fingerprint WORDS",
    "request": "--site DIR",
    "answer": "--site DIR",
    "approval": "--site DIR",
}
KINDS = {
    "root": "small-works, version 1",
    "revocations": "small-works, revocation list 3",
    "authorisation": "small-works, number 7, for small",
    "statement": "one signature of the release small 1.0.0",
    "consignment": "number 1 of small-works for northern-grid/small/production/east",
    "receipt": "small-works closed northern-grid/small/production/east",
    "enrolment": "northern-grid/small/production/east",
    "report": "number 1 of northern-grid/small/production/east",
    "request": "r-1.1.0 of northern-grid/small/production/east",
    "answer": "approve r-1.1.0 of northern-grid/small/production/east",
    "approval": "approve, as operator",
}


def receipt(place: Place, signer: Signer = CONSIGNMENT, vendor: str = "small-works") -> bytes:
    state = place.open().state
    said = Closure(
        vendor=vendor,
        site=state.site,
        site_key=state.site_key.keyid,
        reason="ended",
        requested_at="2026-03-01T10:00:00Z",
        closed_at="2026-04-01T10:00:00Z",
        last_report=Acknowledged(seq=1, digest=state.reports.head or ""),
        steps=tuple(ClosureStep(step=one, standing="unproven" if one == "carried" else "proven") for one in STEPS),
        unanswered=(2,),
        kept=(KeptReports(what="reports", count=4, until="2027-04-01T10:00:00Z"),),
    )
    return sign_closure(said, (signer,))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("documents")
    place = make_place(folder, ONE, disk=QuickDisk(), reserve="4KiB")
    place.bring(ONE.write(folder / "1.tar"))
    place.receive(TWO.write(folder / "2.tar"))
    with place.hold() as site:
        write_report(site, site.disk, place.clock.at)
    site = place.open()
    state = site.state
    world = World(folder, place)
    first = state.installs.generation(1)
    assert first is not None
    permit = authorisation(first)
    listed = encode_revocations(Revocations(vendor="small-works", version=3, keys=("f" * 64,)))
    raw_list = seal(listed, REVOCATIONS_TYPE, (ROOT,))
    world.write("root", ONE.root_file())
    world.write("revocations", raw_list)
    world.write("authorisation", sealed(permit))
    world.write("statement", open_head(folder / "1.tar").signatures[0].bundle)
    asked = (Request(request="q1", handler="restart", parameters={"unit": "api"}),)
    note = consignment_for(state, acknowledge=True, requests=asked, authorisations=(carried(permit),))
    world.write("consignment", signed(note))
    world.write("receipt", receipt(place))
    world.write("enrolment", enrolment_path(site).read_bytes())
    world.write("report", report_path(site, 1).read_bytes())
    desk = folder / "desk"
    write_request(site, approvable_of(site, ("r-1.1.0",)), ("r-1.1.0",), desk, load_driver, lambda _, __: {})
    world.files["request"] = desk / "request.json"
    world.files["answer"] = sign_answer(open_request(desk), place.people["ops-1"], "approve", "after lunch", None)[1]
    place.approve("r-1.1.0")
    world.files["approval"] = place.open().document_path(place.open().state.trust.verdicts[-1].envelope)
    return world


def run(command: Any, *words: object, code: int = 0) -> dict[str, Any]:
    found = CliRunner().invoke(command, [*(str(one) for one in words), "--json"], catch_exceptions=False)
    assert found.exit_code == code, found.output
    data: dict[str, Any] = json.loads(found.stdout)
    return data


def text(command: Any, *words: object) -> str:
    return CliRunner().invoke(command, [str(one) for one in words], catch_exceptions=False).stdout


@pytest.mark.parametrize("kind", KINDS)
def test_each_is_known_by_its_content_and_vouched_for(world: World, kind: str) -> None:
    path, trust = world.files[kind], world.trust(kind)
    found = run(verify_command, path, *trust)
    assert (found["verdict"], found["kind"]) == ("verified", kind)
    assert found["signers"]
    assert text(verify_command, path, *trust).startswith(f"verdict: verified {kind}, {KINDS[kind]}")
    shown = text(show_command, path, *trust).splitlines()
    assert shown[0].startswith("verified: ")
    assert shown[1] == f"{kind:<10} {KINDS[kind]}"
    assert run(show_command, path, *trust)["verified"] is True


@pytest.mark.parametrize("kind", KINDS)
def test_without_trust_nothing_is_called_verified(world: World, kind: str) -> None:
    path = world.files[kind]
    assert run(verify_command, path, code=2)["error"]["hint"]
    found = run(show_command, path)
    assert (found["verified"], found["by"]) == (False, None)
    assert text(show_command, path).splitlines()[0].startswith("not verified: ")


@pytest.mark.parametrize("kind", [one for one in KINDS if one != "request"])
def test_the_site_judges_what_is_meant_for_it(world: World, kind: str) -> None:
    if kind == "revocations":
        # The site has no list yet; by its root this one holds.
        assert run(verify_command, world.files[kind], "--site", world.place.path)["kind"] == kind
        return
    found = run(verify_command, world.files[kind], "--site", world.place.path)
    assert found["verdict"] == "verified"


@pytest.mark.parametrize("kind", KINDS)
def test_one_changed_byte_of_a_signature_or_a_payload(world: World, kind: str, tmp_path: Path) -> None:
    raw = world.files[kind].read_bytes()
    place = raw.index(b'"sig":"') + 40
    changed = raw[:place] + (b"A" if raw[place : place + 1] != b"A" else b"B") + raw[place + 1 :]
    if kind == "request":
        path = tmp_path / "desk" / "request.json"
        path.parent.mkdir()
        (path.parent / "documents").symlink_to(world.files[kind].parent / "documents")
    else:
        path = tmp_path / "x.json"
    path.write_bytes(changed)
    found = CliRunner().invoke(verify_command, [str(path), *world.trust(kind), "--json"], catch_exceptions=False)
    assert found.exit_code in (3, 4), found.output
    assert json.loads(found.stdout)["verdict"] == "refused"


def test_by_a_stranger_or_for_another_vendor(world: World, tmp_path: Path) -> None:
    state = world.place.open().state
    root = ("--root", world.root)
    for data, finding in (
        (signed(consignment_for(state), STRANGER), "signature-unknown"),
        (signed(consignment_for(state), RELEASE), "signature-role"),
        (signed(consignment_for(state, vendor="large-works")), "vendor-differs"),
        (receipt(world.place, STRANGER), "signature-unknown"),
        (receipt(world.place, RELEASE), "signature-role"),
        (receipt(world.place, vendor="large-works"), "vendor-differs"),
    ):
        (tmp_path / "x.json").write_bytes(data)
        found = run(verify_command, tmp_path / "x.json", *root, code=4)
        assert found["findings"][0]["id"] == finding
    other = seal(encode(ONE.but(practice=True).root()), ROOT_TYPE, (ROOT,))
    (tmp_path / "other.json").write_bytes(other)
    assert run(verify_command, tmp_path / "other.json", *root, code=4)


def test_for_another_site(world: World, tmp_path: Path) -> None:
    state = world.place.open().state
    here = ("--site", world.place.path)
    west = "northern-grid/small/production/west"
    first = state.installs.generation(1)
    assert first is not None
    for data in (
        signed(consignment_for(state, site=west)),
        signed(consignment_for(state, site_key="0" * 64)),
        sealed(authorisation(first, sites=(west,))),
    ):
        (tmp_path / "x.json").write_bytes(data)
        found = run(verify_command, tmp_path / "x.json", *here, code=5)
        assert found["findings"][0]["id"] == "other-site"
        assert text(show_command, tmp_path / "x.json", *here).startswith("not verified: is for northern-grid/small/")
        assert run(verify_command, tmp_path / "x.json", "--root", world.root)["verdict"] == "verified"


def test_a_consignment_for_a_former_key_is_verified_as_it_is_received(world: World, tmp_path: Path) -> None:
    shutil.copytree(world.place.path, tmp_path / "site", symlinks=True)
    place = Place(path=tmp_path / "site", disk=QuickDisk())
    former = place.open().state.site_key.keyid
    with place.hold() as site:
        rotate_key(site)
    state = place.open().state
    assert state.site_key.keyid != former
    (tmp_path / "x.json").write_bytes(signed(consignment_for(state, site_key=former)))
    assert run(verify_command, tmp_path / "x.json", "--site", place.path)["verdict"] == "verified"


def test_what_a_consignment_and_a_receipt_say(world: World) -> None:
    note = text(show_command, world.files["consignment"])
    assert "asks       q1: restart with unit=api" in note
    assert "brings     authorisation 7: rollback to 1.0.0" in note
    assert "holds      report 1, " in note
    closed = text(show_command, world.files["receipt"])
    assert "step       carried: unproven" in closed
    assert "unanswered consignments 2" in closed
    assert "keeps      4 reports, until 2027-04-01T10:00:00Z" in closed
    permit = text(show_command, world.files["authorisation"])
    assert "permits    one rollback below the floor: authorisation 7 of small-works" in permit
    assert "condition  after lunch" in text(show_command, world.files["answer"])
    assert "           installed  small 1.0.0, confirmed" in text(show_command, world.files["report"])


def test_a_report_by_a_later_key_is_led_to_from_the_enrolment(tmp_path: Path) -> None:
    place = make_place(tmp_path, ONE, disk=QuickDisk(), reserve="4KiB")
    enrolment = tmp_path / "enrolment.json"
    enrolment.write_bytes(enrolment_path(place.open()).read_bytes())
    with place.hold() as site:
        write_report(site, site.disk, place.clock.at)
        rotate_key(site)
    with place.hold() as site:
        write_report(site, site.disk, place.clock.at)
    path = report_path(place.open(), 2)
    assert "through one change of key" in text(verify_command, path, "--enrolment", enrolment)
    assert "verified report" in text(verify_command, path, "--site", place.path)
    assert "verified report" in text(verify_command, report_path(place.open(), 1), "--site", place.path)


def test_an_enrolment_vouches_for_its_own_site_alone(world: World, tmp_path: Path) -> None:
    other = make_place(tmp_path, ONE, disk=QuickDisk(), reserve="4KiB")
    foreign = enrolment_path(other.open())
    assert run(verify_command, world.files["report"], "--enrolment", foreign, code=4)
    assert run(verify_command, foreign, *world.trust("enrolment"), code=4)["findings"][0]["id"] == "fingerprint-differs"
    assert run(verify_command, foreign, "--root", world.root, code=2)
    bundle = tmp_path / "b.tar"
    ONE.write(bundle)
    assert run(verify_command, bundle, "--enrolment", world.files["enrolment"], code=2)


def test_an_answer_by_somebody_the_policy_does_not_know(world: World, tmp_path: Path) -> None:
    site = world.place.open()
    desk = tmp_path / "desk"
    write_request(site, approvable_of(site, ("r-1.1.0",)), ("r-1.1.0",), desk, load_driver, lambda _, __: {})
    raw = sign_answer(open_request(desk), world.place.people["ops-1"], "approve", None, None)[1].read_bytes()
    stranger = make_place(tmp_path / "else", ONE, disk=QuickDisk(), reserve="4KiB")
    (tmp_path / "x.json").write_bytes(raw)
    found = run(verify_command, tmp_path / "x.json", "--site", stranger.path, code=5)
    assert found["findings"][0]["id"] == "approver-unknown"
    assert generate_key().public.keyid not in found["findings"][0]["text"]


def test_what_others_name_by_its_digest_is_shown_and_never_verified(world: World) -> None:
    site = world.place.open()
    state = site.state
    plan = state.trust.verdicts[-1].plan
    for digest, kind, said in (
        (plan, "plan", "install at northern-grid/small/production/east"),
        (state.trust.policy, "policy", '"number": 1'),
    ):
        path = site.document_path(digest)
        shown = text(show_command, path, "--site", world.place.path)
        assert shown.startswith("not verified: a document of this kind has no signature (compare its digest")
        assert said in shown
        assert f"digest     {digest}" in shown
        assert run(show_command, path)["kind"] == kind
        assert run(verify_command, path, "--site", world.place.path, code=2)
    contract = world.folder / "contract.json"
    contract.write_bytes(encode(ONE.contract()))
    assert run(show_command, contract)["document"]["contract"] == "small-telemetry"
    release = world.folder / "release.json"
    release.write_bytes(open_head(world.folder / "1.tar").release)
    assert run(show_command, release)["document"]["version"] == "1.0.0"
    way_back = world.folder / "rollback.json"
    way_back.write_bytes(encode(ONE.rollback()))
    assert run(show_command, way_back)["kind"] == "rollback"


@pytest.mark.parametrize("data", [b"{}", b'{"type":"x"}', b'{"payloadType":"application/json"}', b"{", b"[]", b"\x00"])
def test_what_is_none_of_ours(world: World, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x").write_bytes(data)
    for command in (verify_command, show_command):
        found = CliRunner().invoke(command, [str(tmp_path / "x"), "--root", str(world.root)], catch_exceptions=False)
        assert found.exit_code == 3, found.output


def test_several_files_at_once(world: World) -> None:
    found = run(
        verify_command, world.files["consignment"], world.files["receipt"], world.folder / "1.tar", "--root", world.root
    )
    assert [one["verdict"] for one in found["files"]] == ["verified"] * 3
    # One that cannot be judged keeps nobody from judging the others.
    files = (world.files["report"], world.files["consignment"], world.folder / "nowhere.json")
    found = run(verify_command, *files, "--root", world.root, code=2)
    assert [one["verdict"] for one in found["files"]] == ["not judged", "verified", "not judged"]
    said = text(verify_command, *files, "--root", world.root)
    assert "refused" not in said
    assert f"verdict: not judged: {files[2]}: no such file" in said
    # The problem that is printed as the error is not printed in the text too.
    assert said.startswith(f"verdict: not judged: {files[0]}\n")
    said = text(verify_command, files[2], "--root", world.root)
    assert said == f"verdict: not judged: {files[2]}\n"
    # The most_severe decides the exit code, wherever it stands among the others.
    strange = world.folder / "strange.json"
    strange.write_bytes(signed(consignment_for(world.place.open().state), STRANGER))
    assert run(verify_command, world.files["report"], strange, "--root", world.root, code=4)
    head = ("--head", world.folder / "1.tar")
    assert run(verify_command, world.files["report"], "--root", world.root, *head, code=2)["error"]["where"] == "--head"


@given(kind=st.sampled_from(sorted(KINDS)), data=st.data())
@settings(max_examples=300)
def test_whatever_is_in_it_ends_in_words(world: World, kind: str, data: st.DataObject) -> None:
    """Bytes changed in the file, or in what is signed: it is read, or refused as every wrong file is."""
    raw = world.files[kind].read_bytes()
    inner = re.search(rb'"payload":"([A-Za-z0-9+/=]+)"', raw)
    assert inner is not None
    where = data.draw(st.sampled_from(("file", "payload")))
    text = raw if where == "file" else base64.b64decode(inner[1])
    at = data.draw(st.integers(0, len(text) - 1))
    new = data.draw(st.binary(max_size=4))
    text = text[:at] + new + text[at + data.draw(st.integers(0, 4)) :]
    if where == "payload":
        text = raw[: inner.start(1)] + base64.b64encode(text) + raw[inner.end(1) :]
    path = world.files["request"].parent / "changed.json"
    path.write_bytes(text)
    try:
        read, said = read_document(path)
        document_text("not verified", said)
        json.dumps(document_data(said))
        site = find_judging_site(world.place.path)
        assert site is not None
        judge_document(path, read, said, DocumentJudge(site_anchor(site), site, world.files["enrolment"]))
    except WaybillError as error:
        assert error.problem
        return
    assert text == raw


class OtherVendor(Vendor):
    """A vendor of the same product with a name and keys of its own."""

    def root(self) -> Root:
        own = {"root": derived(301), "release": SECOND, "consignment": derived(302), "rollback": derived(303)}
        held = {
            name: msgspec.structs.replace(role, keys=(own[name].public.keyid,), threshold=1)
            for name, role in super().root().roles.items()
        }
        keys = {one.public.keyid: one.public for one in own.values()}
        return msgspec.structs.replace(super().root(), vendor="other-works", keys=keys, roles=held)

    def root_file(self) -> bytes:
        return seal(encode_root(self.root()), ROOT_TYPE, (derived(301),))


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The site of another vendor and customer on the same host."""
    return make_place(
        tmp_path_factory.mktemp("elsewhere"), OtherVendor(signers=(SECOND,)), disk=QuickDisk(), reserve="4KiB"
    )


@pytest.mark.parametrize("kind", ["root", "bundle"])
def test_a_site_variable_that_names_no_site_yet_does_not_stop_show(
    world: World, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = world.files.get(kind, world.folder / "1.tar")
    monkeypatch.setenv("WAYBILL_SITE", str(tmp_path / "site"))
    done = CliRunner().invoke(show_command, [str(path)])
    assert done.exit_code == 0
    assert done.stdout.startswith("not verified: ")
    assert f"no site was asked: WAYBILL_SITE: {tmp_path}/site is not a site: it has no journal" in done.stderr
    assert CliRunner().invoke(verify_command, [str(path)]).exit_code == 2
    assert CliRunner().invoke(show_command, [str(path), "--site", str(tmp_path / "site")]).exit_code == 2


@pytest.mark.parametrize("kind", [*KINDS, "bundle"])
def test_a_file_that_a_site_nobody_named_does_not_trust(
    world: World, elsewhere: Place, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`show` explains it and `verify` refuses it; both name the site that judged and how to name other trust."""
    path = world.files.get(kind, world.folder / "1.tar")
    option = OTHER_TRUST.get(kind, "--root ROOT")
    monkeypatch.chdir(elsewhere.path)
    first = text(show_command, path).splitlines()[0]
    assert first.startswith(f"not verified by the site {elsewhere.path}: ")
    assert first.endswith(f"(waybill show {path} {option})")
    done = CliRunner().invoke(verify_command, [str(path)])
    assert done.exit_code in (4, 5)
    assert done.stdout.startswith(f"verdict: not verified by the site {elsewhere.path}: {path}\n")
    other = f"by other trust: waybill verify {path} {option}"
    assert f"the site {elsewhere.path} judged, because no trust was named; {other}" in done.stderr
    # A site that was named is no guess.
    for command in (show_command, verify_command):
        named = CliRunner().invoke(command, [str(path), "--site", str(elsewhere.path)])
        assert "no trust was named" not in named.output
