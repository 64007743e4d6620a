"""A review carried to an approver elsewhere, and the answer that comes back: what holds, and every way to cheat."""

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from manifests.documents import release as r
from manifests.documents.release import Severity
from manifests.documents.review_request import (
    REQUEST_TYPE,
    ApprovalAnswer,
    ReviewRequest,
    Spare,
    parse_answer,
    sign_request,
    verify_request,
)
from manifests.trust.envelope import parse_envelope
from manifests.trust.envelope_writer import add_signatures, seal
from manifests.trust.keys import decode_base64, encode_base64
from manifests.trust.private_keys import generate_key
from manifests.words.canonical import encode
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import DamagedError, HostError, MalformedError, RefusedError, UntrustedError, WaybillError
from tests.faults.model import QuickDisk
from tests.governed import EMERGENCY, TAIL, agree, govern, policy_text, write_policy
from tests.place import Place, make_place
from tests.unit.verifier.approval.test_review import SCHEMA, first_vendor, fix
from tests.vendor import Vendor
from verifier.approval.approve import sign_answer
from verifier.approval.items import approvable_of
from verifier.approval.request_reader import DOCUMENTS, OpenRequest, open_request
from verifier.approval.request_writer import write_request
from verifier.approval.review import Review, make_review
from verifier.approval.review_input import read_review_input
from verifier.approval.verdicts import approval_status
from verifier.commands.review import review_command
from verifier.intake.media import ReceivedMedia, receive_media
from verifier.reporting.report_write import write_report
from verifier.runtime.drivers.driver import load_driver
from verifier.site.disk import Disk

NEXT = "r-1.1.0"
SERVICE = {"hello.txt": b"second\n", "run.py": b"print('hi')\n"}


def later(version: str, sequence: int, severity: Severity = "low") -> Vendor:
    """The same product, later: another file, another image, something fixed."""
    first = first_vendor()
    fixes = (fix("CVE-3", severity),)
    return first.but(version=version, sequence=sequence, service=SERVICE, change={**first.change, "fixes": fixes})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Policy 2 of four people, 1.0.0 runs, 1.1.0 waits; and a request for it."""
    folder = tmp_path_factory.mktemp("made")
    place = govern(make_place(folder, first_vendor(), disk=QuickDisk()))
    place.receive(first_vendor().write(folder / "1.tar"))
    agree(place, "r-1.0.0")
    assert place.install("r-1.0.0").error is None
    place.receive(later("1.1.0", 2).write(folder / "2.tar"))
    ask(place, NEXT, folder / "desk")
    return place


@pytest.fixture
def place(made: Place, tmp_path: Path) -> Place:
    shutil.copytree(made.path, tmp_path / "site", symlinks=True)
    shutil.copytree(made.path.parent / "desk", tmp_path / "desk")
    return Place(path=tmp_path / "site", disk=QuickDisk(), people=dict(made.people))


def ask(place: Place, items: str, folder: Path) -> OpenRequest:
    names = tuple(items.split())
    site = place.open()
    write_request(
        site, approvable_of(site, names), names, folder, load_driver, lambda _, __: {"review.txt": b"for reading\n"}
    )
    return open_request(folder)


def answer(place: Place, folder: Path, person: str, verdict: str = "approve", condition: str | None = None) -> Path:
    return sign_answer(open_request(folder), place.people[person], verdict, condition, None)[1]  # type: ignore[arg-type]  # one of the two words


def receive(place: Place, *paths: Path) -> ReceivedMedia:
    with place.hold() as site:
        return receive_media(site, paths, keep=False, watch=lambda _: nullcontext(lambda _: None))


def agreed(place: Place, item: str = NEXT) -> dict[str, tuple[str, ...]]:
    site = place.open()
    return {one.role: one.people for one in approval_status(site, approvable_of(site, (item,))).roles if one.people}


def told(review: Review) -> object:
    """Everything that is shown; how much is free moves between two looks."""
    rooms = tuple(replace(one, free_bytes=0, free_inodes=0) for one in review.host.rooms or ())
    return msgspec.to_builtins(replace(review, host=replace(review.host, rooms=rooms)))


def refusal(place: Place, path: Path) -> WaybillError:
    before = place.open().state.trust.verdicts
    found = receive(place, path)
    assert (found.answers, place.open().state.trust.verdicts) == ([], before)
    (error,) = found.refused
    return error


def changed(path: Path, change: Callable[[ApprovalAnswer], ApprovalAnswer]) -> Path:
    found = msgspec.json.decode(path.read_bytes(), type=ApprovalAnswer)
    path.write_bytes(encode(change(found)))
    return path


# --- what holds -----------------------------------------------------------------------------------------------------


def test_the_desk_shows_exactly_what_the_site_shows(place: Place, tmp_path: Path) -> None:
    found = ask(place, NEXT, tmp_path / "other")
    site = place.open()
    at_the_site = make_review(read_review_input(site, approvable_of(site, (NEXT,)), load_driver))
    at_the_desk = make_review(found.review_input)
    assert told(at_the_desk) == told(at_the_site)
    assert at_the_desk.part("sbom")
    assert at_the_desk.part("files")
    assert at_the_desk.advisories.fixed
    assert found.status == approval_status(site, approvable_of(site, (NEXT,)))
    assert "root 1 of small-works" in found.root


def test_a_config_is_carried_and_shown_once_and_its_secrets_are_not(tmp_path: Path) -> None:
    blob = Blob(digest=digest_of(SCHEMA), size=len(SCHEMA))
    vendor = first_vendor()
    vendor = vendor.but(
        extra={**vendor.extra, "schema": SCHEMA},
        change={**vendor.change, "config": r.Config(schema=blob, version=1)},
    )
    place = make_place(tmp_path / "world", vendor, disk=QuickDisk())
    yaml = place.path / "site.yaml"
    assert "config: {}" in yaml.read_text()
    yaml.write_text(yaml.read_text().replace("config: {}", 'config: {pin: "4711", host: east.example}'))
    place.receive(vendor.write(tmp_path / "1.tar"))
    found = ask(place, "r-1.0.0", tmp_path / "desk")
    review = make_review(found.review_input)
    site = place.open()
    assert told(review) == told(make_review(read_review_input(site, approvable_of(site, ("r-1.0.0",)), load_driver)))
    shown = {one.name: one.after for one in review.part("config", "settings")}
    assert shown["host"] == "east.example"
    assert "4711" not in str(msgspec.to_builtins(review))
    assert not [name for name in shown if name.startswith("config")]
    answer(place, tmp_path / "desk", "ops-1")
    receive(place, tmp_path / "desk")
    assert place.install("r-1.0.0").error is None


def test_an_answer_comes_back_and_counts(place: Place, tmp_path: Path) -> None:
    files = [answer(place, tmp_path / "desk", one, condition="a backup first") for one in ("sec-1", "ops-2")]
    found = receive(place, tmp_path / "desk")
    assert [(one.person, one.role, one.item, one.new) for one in found.answers] == [
        ("ops-2", "operator", NEXT, True),
        ("sec-1", "security", NEXT, True),
    ]
    assert (found.refused, found.others, found.unread) == ([], 0, [])
    assert agreed(place) == {"operator": ("ops-2",), "security": ("sec-1",)}
    site = place.open()
    assert ("sec-1", "a backup first") in approval_status(site, approvable_of(site, (NEXT,))).conditions
    assert place.install(NEXT).error is None
    # Carried home twice, or found again on the stick: nothing new, and after the install no approval of anything.
    assert {one.finding for one in receive(place, *files).refused} == {"answer-not-asked"}


def test_a_week_of_reports_does_not_move_the_plan_that_was_asked_about(place: Place, tmp_path: Path) -> None:
    path = answer(place, tmp_path / "desk", "sec-1")
    place.clock.sleep(7 * 86400)
    with place.hold() as site:
        write_report(site, site.disk, site.host.now())
    assert receive(place, path).answers[0].new


def test_a_plan_of_several_releases_a_policy_and_a_way_back(place: Place, tmp_path: Path) -> None:
    place.receive(later("1.2.0", 3).but(needs_from=(">=1.1.0, <2.0.0",)).write(tmp_path / "3.tar"))
    both = ask(place, f"{NEXT} r-1.2.0", tmp_path / "both")
    assert [one.version for one in make_review(both.review_input).way] == ["1.1.0", "1.2.0"]
    answer(place, tmp_path / "both", "ops-1")
    assert [one.item for one in receive(place, tmp_path / "both").answers] == [f"{NEXT} r-1.2.0"]

    write_policy(place, policy_text(3, rules={"minor": "{operator: 1}"}))
    policy = ask(place, "policy", tmp_path / "policy")
    review = make_review(policy.review_input)
    assert review.part("policy")
    site = place.open()
    assert told(review) == told(make_review(read_review_input(site, approvable_of(site, ("policy",)), load_driver)))
    answer(place, tmp_path / "policy", "sec-1")
    receive(place, tmp_path / "policy")
    assert agreed(place, "policy") == {"security": ("sec-1",)}

    agree(place, NEXT)
    assert place.install(NEXT).error is None
    back = ask(place, "b-1", tmp_path / "back")
    assert make_review(back.review_input).title == "rollback to generation 1, small 1.0.0"
    answer(place, tmp_path / "back", "ops-1")
    receive(place, tmp_path / "back")
    assert agreed(place, "b-1") == {"operator": ("ops-1",)}


def test_who_agreed_already_and_an_emergency_rule_are_in_the_request(place: Place, tmp_path: Path) -> None:
    place.put_policy(write_policy(place, policy_text(3, tail=TAIL + EMERGENCY)), "ops-1", "sec-1")
    place.receive(later("1.1.1", 3, "critical").write(tmp_path / "fix.tar"))
    agree(place, "r-1.1.1", "ops-2")
    found = ask(place, "r-1.1.1", tmp_path / "fix")
    site = place.open()
    assert found.status == approval_status(site, approvable_of(site, ("r-1.1.1",)))
    assert [one.rule for one in found.status.emergency] == ["critical-fix"]
    assert [one.people for one in found.status.roles if one.role == "operator"] == [("ops-2",)]
    text = CliRunner().invoke(review_command, [str(tmp_path / "fix")], catch_exceptions=False).stdout
    assert "or by the emergency rule: waybill install r-1.1.1 --emergency critical-fix" in text


def test_the_vendors_root_can_be_named_from_the_paper(place: Place, tmp_path: Path) -> None:
    pin = place.open().state.trust.root
    assert "by the fingerprint that you gave" in open_request(tmp_path / "desk", pin.digest).root
    with pytest.raises(UntrustedError) as caught:
        open_request(tmp_path / "desk", digest_of(b"another vendor"))
    assert caught.value.finding == "root-unknown"


# --- at the desk: what somebody did to the folder -------------------------------------------------------------------


def test_every_document_is_checked(place: Place, tmp_path: Path) -> None:
    found = 0
    for path in sorted((tmp_path / "desk" / DOCUMENTS).iterdir()):
        good = path.read_bytes()
        path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        with pytest.raises(DamagedError) as caught:
            open_request(tmp_path / "desk")
        assert caught.value.finding == "request-changed"
        path.write_bytes(good + b"x")
        with pytest.raises(WaybillError):
            open_request(tmp_path / "desk")
        path.unlink()
        with pytest.raises(DamagedError) as caught:
            open_request(tmp_path / "desk")
        assert caught.value.finding == "request-incomplete"
        path.write_bytes(good)
        found += 1
    assert found > 10


def test_what_the_site_lacks_is_said_at_the_desk_too(place: Place, tmp_path: Path) -> None:
    release = first_vendor().release()[0]
    sbom = release.images[0].sboms[0]
    (place.path / "store" / "blobs" / "sha256" / sbom.digest[7:]).unlink()
    review = make_review(ask(place, NEXT, tmp_path / "other").review_input)
    assert any(one.startswith("SBOM of image api of 1.0.0") for one in review.unread)


def test_a_request_of_another_key_is_for_another_site(place: Place, tmp_path: Path) -> None:
    """A courier can only make a whole request of their own, and its plan names their key: worth nothing at the site."""
    path = tmp_path / "desk" / "request.json"
    request = verify_request(path.read_bytes()).request
    courier = generate_key()
    told = msgspec.structs.replace(request, work=("nothing at all",), key=courier.public)
    path.write_bytes(seal(encode(told), REQUEST_TYPE, (courier,)))
    with pytest.raises(MalformedError) as caught:
        open_request(tmp_path / "desk")
    assert caught.value.finding == "request-signature"
    path.write_bytes(seal(encode(msgspec.structs.replace(request, work=("nothing",))), REQUEST_TYPE, (courier,)))
    with pytest.raises(MalformedError):
        open_request(tmp_path / "desk")
    plan = msgspec.structs.replace(request.plan, site_key=courier.public.keyid)
    path.write_bytes(sign_request(msgspec.structs.replace(told, plan=plan), courier))
    lured = answer(place, tmp_path / "desk", "sec-1")
    assert refusal(place, lured).finding == "answer-other-key"


@pytest.mark.parametrize(
    "change",
    [
        lambda request, _: {"policy": request.way[0].release},
        lambda request, _: {"way": ()},
        lambda request, _: {"way": (msgspec.structs.replace(request.way[0], release=request.policy),)},
        lambda request, _: {"way": (msgspec.structs.replace(request.way[0], signatures=()),)},
        lambda request, _: {"way": (msgspec.structs.replace(request.way[0], settings=None),)},
        lambda request, _: {"way": (msgspec.structs.replace(request.way[0], settings=request.policy),)},
        lambda request, _: {"roots": ()},
        lambda request, _: {"emergency": (Spare(rule="no-such-rule", uses_left=1),)},
        lambda request, other: {"said": (other,)},
    ],
)
def test_a_request_that_contradicts_its_plan(place: Place, tmp_path: Path, change: object) -> None:
    """Also when the site itself signed it."""
    folder = tmp_path / "desk"
    site = place.open()
    path = folder / "request.json"
    request = verify_request(path.read_bytes()).request
    data = site.document(site.state.trust.verdicts[0].envelope)
    (folder / DOCUMENTS / digest_of(data)[7:]).write_bytes(data)
    other = msgspec.structs.replace(request.policy, digest=digest_of(data), size=len(data))
    fields = change(request, other)  # type: ignore[operator]  # a lambda of the table above
    path.write_bytes(sign_request(msgspec.structs.replace(request, **fields), site.signer()))
    with pytest.raises((MalformedError, RefusedError)):
        open_request(folder)


def test_a_key_that_is_nobodys_signs_nothing(place: Place, tmp_path: Path) -> None:
    with pytest.raises(RefusedError) as caught:
        sign_answer(open_request(tmp_path / "desk"), generate_key(), "approve", None, None)
    assert caught.value.finding == "approver-unknown"
    answer(place, tmp_path / "desk", "sec-1")
    with pytest.raises(RefusedError) as caught:
        answer(place, tmp_path / "desk", "sec-1")
    assert caught.value.finding == "exists"


# --- at the site: what somebody did to the answer -------------------------------------------------------------------


def test_a_tampered_answer(place: Place, tmp_path: Path) -> None:
    path = answer(place, tmp_path / "desk", "sec-1", condition="only on Sunday")
    good = path.read_bytes()

    def payload(found: ApprovalAnswer, **fields: object) -> ApprovalAnswer:
        said = json.loads(found.approval.payload_bytes) | fields
        text = json.dumps(said, sort_keys=True, separators=(",", ":")).encode()
        return msgspec.structs.replace(
            found, approval=msgspec.structs.replace(found.approval, payload=encode_base64(text))
        )

    cases: list[tuple[str, Callable[[ApprovalAnswer], ApprovalAnswer]]] = [
        ("signature-wrong", lambda found: payload(found, condition="none at all")),
        ("signature-wrong", lambda found: payload(found, verdict="reject")),
        ("answer-changed", lambda found: payload(found, plan=digest_of(b"x"))),
        (
            "answer-changed",
            lambda found: msgspec.structs.replace(found, plan=msgspec.structs.replace(found.plan, generation=9)),
        ),
        ("answer-not-asked", lambda found: msgspec.structs.replace(found, items=("r-9.9.9",))),
        ("answer-not-asked", lambda found: msgspec.structs.replace(found, items=("config",))),
    ]
    for finding, change in cases:
        path.write_bytes(good)
        assert refusal(place, changed(path, change)).finding == finding
    path.write_bytes(good[:-1])
    assert isinstance(refusal(place, path), MalformedError)
    for cut in (1, 100, len(good) // 2):
        path.write_bytes(good[:cut])
        media = receive(place, path)
        assert media.answers == []
        assert isinstance(media.error, MalformedError), cut


def test_an_answer_for_another_plan_policy_site_or_by_a_stranger(place: Place, tmp_path: Path) -> None:
    path = answer(place, tmp_path / "desk", "sec-1")
    yaml = place.path / "site.yaml"
    yaml.write_text(yaml.read_text() + "labels: [east]\n")
    error = refusal(place, path)
    assert (error.finding, "site.yaml was changed" in error.problem) == ("answer-other-plan", True)
    yaml.write_text(yaml.read_text().replace("labels: [east]\n", ""))
    # The same person, under the next policy: what was agreed to was judged by the one before.
    place.put_policy(write_policy(place, policy_text(3)), "ops-1", "sec-1")
    assert refusal(place, path).finding == "answer-older-policy"
    # Who has left is nobody any more, whatever they signed before.
    without = {"ops-1": "operator", "ops-2": "operator", "dpo-1": "privacy", "ops-3": "security"}
    place.put_policy(write_policy(place, policy_text(4, people=without)), "ops-1", "sec-1")
    assert refusal(place, path).finding == "approver-unknown"
    found = msgspec.json.decode(path.read_bytes(), type=ApprovalAnswer)
    plan = msgspec.structs.replace(found.plan, site="northern-grid/small/production/west")
    said = json.loads(found.approval.payload_bytes) | {"plan": plan.digest}
    text = json.dumps(said, sort_keys=True, separators=(",", ":")).encode()
    moved = msgspec.structs.replace(
        found, plan=plan, approval=msgspec.structs.replace(found.approval, payload=encode_base64(text))
    )
    path.write_bytes(encode(moved))
    assert refusal(place, path).finding == "answer-other-site"
    assert receive(place, tmp_path / "desk").others == 1


def test_an_answer_counts_once_however_it_is_spelt(place: Place, tmp_path: Path) -> None:
    """An ECDSA signature (r, s) has a twin (r, n-s), which verifies too: the copy is known by what was signed."""
    yes = answer(place, tmp_path / "desk", "sec-1")
    good = yes.read_bytes()
    assert [one.new for one in receive(place, yes).answers] == [True]
    assert [one.new for one in receive(place, yes).answers] == [False]
    no = answer(place, tmp_path / "desk", "sec-1", "reject")
    assert [one.new for one in receive(place, no).answers] == [True]
    assert agreed(place) == {}
    # The withdrawal stands, whatever a courier brings again, in whatever spelling.
    receive(place, yes)
    assert agreed(place) == {}
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

    def twin(found: ApprovalAnswer) -> ApprovalAnswer:
        (one,) = found.approval.signatures
        r, s = decode_dss_signature(decode_base64(one.sig, "signature"))
        again = msgspec.structs.replace(one, sig=encode_base64(encode_dss_signature(r, order - s)))
        return msgspec.structs.replace(found, approval=msgspec.structs.replace(found.approval, signatures=(again,)))

    yes.write_bytes(good)
    entries = len(place.open().entries)
    receive(place, changed(yes, twin))
    assert (agreed(place), len(place.open().entries)) == ({}, entries)
    # Who changes their mind again answers a new request.
    place.clock.sleep(60)
    ask(place, NEXT, tmp_path / "again")
    receive(place, answer(place, tmp_path / "again", "sec-1"))
    assert agreed(place) == {"security": ("sec-1",)}


def test_an_approval_that_comes_after_the_rejection_of_the_same_request(place: Place, tmp_path: Path) -> None:
    """A courier who holds the approval back brings it when the withdrawal is in: refused, not counted."""
    yes = answer(place, tmp_path / "desk", "sec-1")
    no = answer(place, tmp_path / "desk", "sec-1", "reject")
    assert receive(place, no).answers[0].verdict == "reject"
    assert refusal(place, yes).finding == "answer-after-rejection"
    assert agreed(place) == {}


def test_what_was_signed_at_the_site_is_no_answer(place: Place, tmp_path: Path) -> None:
    place.approve(NEXT, "sec-1")
    said = place.open().state.trust.verdicts[-1]
    raw = place.open().document(said.envelope)
    path = answer(place, tmp_path / "desk", "sec-1")
    found = msgspec.json.decode(path.read_bytes(), type=ApprovalAnswer)
    envelope = parse_envelope(raw, "application/vnd.waybill.approval.v1+json", "x", max_bytes=1 << 16)
    path.write_bytes(encode(msgspec.structs.replace(found, approval=envelope)))
    assert refusal(place, path).finding == "answer-without-request"
    with pytest.raises(MalformedError):
        parse_answer(b"{}")


def test_two_signatures_are_no_approval_of_two(place: Place, tmp_path: Path) -> None:
    path = answer(place, tmp_path / "desk", "sec-1")

    def more(found: ApprovalAnswer) -> ApprovalAnswer:
        data = add_signatures(found.approval, (place.people["dpo-1"],))
        envelope = parse_envelope(data, "application/vnd.waybill.approval.v1+json", "x", max_bytes=1 << 16)
        return msgspec.structs.replace(found, approval=envelope)

    assert isinstance(refusal(place, changed(path, more)), MalformedError)


# --- writing it -----------------------------------------------------------------------------------------------------


def test_a_folder_that_is_there_is_not_written_over_and_a_full_stick_leaves_nothing(
    place: Place, tmp_path: Path
) -> None:
    with pytest.raises(RefusedError) as caught:
        ask(place, NEXT, tmp_path / "desk")
    assert caught.value.finding == "exists"

    class Full(Disk):
        left = 5

        def write_new(self, path: Path, data: bytes, mode: int = 0o644) -> None:
            if "desk" in str(path):
                Full.left -= 1
                if Full.left < 0:
                    raise OSError(28, "No space left on device")
            super().write_new(path, data, mode)

    full = replace(place, disk=Full())
    with pytest.raises(HostError, match="no space left"):
        ask(full, NEXT, tmp_path / "other-desk")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["desk", "site"]


def test_what_is_written_is_small_and_holds_no_key(place: Place, tmp_path: Path) -> None:
    names = sorted(str(one.relative_to(tmp_path / "desk")) for one in (tmp_path / "desk").iterdir())
    assert names == ["README.txt", "answers", "documents", "request.json", "review.txt"]
    readme = (tmp_path / "desk" / "README.txt").read_text()
    assert "waybill approve desk --key KEY" in readme
    assert b"PRIVATE KEY" not in b"".join(one.read_bytes() for one in (tmp_path / "desk").rglob("*") if one.is_file())
    assert isinstance(verify_request((tmp_path / "desk" / "request.json").read_bytes()).request, ReviewRequest)
