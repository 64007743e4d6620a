"""Uses of handlers that are judged elsewhere: in a request folder, by a list of revocations, on the command line."""

import json
import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from manifests.documents.contract import Values
from manifests.documents.handler_catalogue import BUILT_IN
from manifests.documents.release import handler_digest
from manifests.documents.review_request import REQUEST_TYPE, ReviewRequest
from manifests.trust.envelope import parse_envelope
from manifests.trust.envelope_writer import seal
from manifests.trust.private_keys import encode_private
from manifests.trust.revocations import REVOCATIONS_TYPE, Revocations
from manifests.words.canonical import encode, parse
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import MalformedError, RefusedError, WaitingError
from tests.handling import QUEUE, USER, consign, handler, handling, handling_place, request, run
from tests.place import Place, make_place
from tests.vendor import ROOT
from verifier.approval.approve import sign_answer
from verifier.approval.items import approvable_of
from verifier.approval.page import as_text
from verifier.approval.queue import waiting_items
from verifier.approval.request_reader import DOCUMENTS, REQUEST, open_request
from verifier.approval.request_writer import write_request
from verifier.approval.review import make_review
from verifier.approval.review_input import read_review_input
from verifier.approval.review_page import agreement_section, make_review_page
from verifier.change.handlers import known_handlers
from verifier.commands.run import run_command
from verifier.commands.show import show_command
from verifier.commands.status import status_command
from verifier.intake.media import receive_media
from verifier.reporting.offboarding import agree_offboarding, ask_offboarding, end_access, finish_offboarding
from verifier.runtime.drivers.driver import load_driver
from verifier.runtime.program_files import find_account
from verifier.runtime.sandbox import check_sandbox
from verifier.site.journal.events import HandlerBegan
from verifier.site.vendor_trust import adopt_revocations

ASKED = request("queue-depth", parameters={"queue": "intake"}, why="jobs wait")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = handling_place(tmp_path, queue_depth="{operator: 1}", health_snapshot="allowed", once="allowed")
    consign(place, tmp_path, ASKED)
    return place


def ask(place: Place, folder: Path, item: str = "c-1") -> Path:
    site = place.open()
    write_request(site, approvable_of(site, (item,)), (item,), folder, load_driver, lambda _, __: {})
    return folder


def receive(place: Place, path: Path) -> None:
    with place.hold() as site:
        received = receive_media(site, (path,), keep=False, watch=lambda _: nullcontext(lambda _: None))
    assert received.refused == []


def page(review_input: object, asked: object, status: object) -> str:
    review = make_review(review_input)  # type: ignore[arg-type]  # as read
    return as_text(make_review_page(review, agreement_section(asked, status)))  # type: ignore[arg-type]  # as read


def test_an_approver_elsewhere_sees_the_same_and_answers(place: Place, tmp_path: Path) -> None:
    opened = open_request(ask(place, tmp_path / "desk"))
    site = place.open()
    here = read_review_input(site, approvable_of(site, ("c-1",)), load_driver)
    text = page(opened.review_input, opened.asked, opened.status)
    assert text == page(here, approvable_of(site, ("c-1",)), opened.status)
    for words in ("queue-depth queue=intake", "read-only; may read the queue table", "jobs wait", "signal queue_depth"):
        assert words in text
    assert [(role.role, role.need) for role in opened.status.roles] == [("operator", 1)]
    _, path = sign_answer(opened, place.people["ops-1"], "approve", None, None)
    receive(place, path)
    assert approvable_of(place.open(), ("c-1",)).then == "run c-1"
    result = CliRunner().invoke(run_command, ["c-1", "--site", str(place.path), "--json"])
    assert json.loads(result.stdout)["outcome"] in ("ran", "failed")


def test_a_rejection_from_elsewhere_ends_it(place: Place, tmp_path: Path) -> None:
    opened = open_request(ask(place, tmp_path / "desk"))
    _, path = sign_answer(opened, place.people["sec-1"], "reject", "not now", None)
    receive(place, path)
    use = place.open().state.requested("c-1")
    assert use is not None
    assert (use.outcome, use.reason) == ("refused", "rejected")


Change = Callable[["Desk"], ReviewRequest]


@dataclass
class Desk:
    """The request of a folder, to be changed and signed again by the site's key: the site itself may be wrong."""

    folder: Path
    request: ReviewRequest

    def put(self, document: object) -> Blob:
        data = encode(document)
        blob = Blob(digest=digest_of(data), size=len(data))
        (self.folder / DOCUMENTS / blob.digest.removeprefix("sha256:")).write_bytes(data)
        return blob


def other_definition(desk: Desk) -> ReviewRequest:
    return msgspec.structs.replace(desk.request, definition=desk.put(msgspec.structs.replace(QUEUE, does="nothing")))


def no_definition(desk: Desk) -> ReviewRequest:
    return msgspec.structs.replace(desk.request, definition=None)


def other_use(desk: Desk) -> ReviewRequest:
    assert desk.request.use is not None
    data = (desk.folder / DOCUMENTS / desk.request.use.digest.removeprefix("sha256:")).read_bytes()
    return msgspec.structs.replace(desk.request, use=desk.put({**json.loads(data), "parameters": {"queue": "archive"}}))


def other_handler(desk: Desk) -> ReviewRequest:
    plan = msgspec.structs.replace(desk.request.plan, handler="once")
    return msgspec.structs.replace(desk.request, plan=plan)


@pytest.mark.parametrize("change", [other_definition, no_definition, other_use, other_handler])
def test_a_request_that_contradicts_its_plan(place: Place, tmp_path: Path, change: Change) -> None:
    folder = ask(place, tmp_path / "desk")
    envelope = parse_envelope((folder / REQUEST).read_bytes(), REQUEST_TYPE, "request", max_bytes=1 << 24)
    made = parse(envelope.payload_bytes, ReviewRequest, "request", max_bytes=1 << 24)
    changed = change(Desk(folder, made))
    (folder / REQUEST).write_bytes(seal(encode(changed), REQUEST_TYPE, (place.open().signer(),)))
    with pytest.raises(MalformedError) as error:
        open_request(folder)
    assert error.value.finding == "request-contradicts"


def test_a_revoked_handler_is_refused_on_arrival_and_while_it_waits(place: Place, tmp_path: Path) -> None:
    listed = Revocations(vendor="small-works", version=1, handlers=(handler_digest(QUEUE),))
    with place.hold() as site:
        adopt_revocations(site, seal(encode(listed), REVOCATIONS_TYPE, (ROOT,)), "list")
    with pytest.raises(RefusedError) as error:
        run(place, "c-1", "ops-1")
    assert error.value.finding == "revoked"
    consign(place, tmp_path, ASKED, number=2)
    assert [(one.item, one.outcome, one.reason) for one in place.open().state.reports.answered] == [
        ("c-1", "refused", "revoked"),
        ("c-2", "refused", "revoked"),
    ]
    with pytest.raises(RefusedError):
        run(place, "queue-depth", queue="intake")


def invoke(place: Place, command: object, *words: str) -> tuple[int, str]:
    result = CliRunner().invoke(command, [*words, "--site", str(place.path)])  # type: ignore[arg-type]  # a command
    return result.exit_code, result.output


def test_the_command_line(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    key = tmp_path / "ops-1.key"
    key.write_bytes(encode_private(place.people["ops-1"], None))
    key.chmod(0o600)
    code, text = invoke(place, run_command, "queue-depth", "queue=intake")
    assert (code, "waybill approve h-1 --key KEY" in text) == (9, True)
    code, text = invoke(place, run_command, "once", "--key", str(key))
    assert code == 0
    for words in ("run once, which does once", "risk changes-data; may read the queue table"):
        assert words in text
    code, text = invoke(place, run_command, "h-1", "queue=archive")
    assert (code, "an item takes no parameters" in text) == (2, True)
    for words in ("queue", "queue=", "=x"):
        assert invoke(place, run_command, "queue-depth", words)[0] == 2
    code, text = invoke(place, run_command, "queue-depth", "queue=sixth")
    assert (code, "expected one of intake, archive" in text) == (5, True)
    code, text = invoke(place, run_command, "inventory")
    assert (code, "policy 2 does not list the handler inventory" in text) == (5, True)
    code, text = invoke(place, run_command, "health-snapshot")
    assert (code, "signal probes" in text) == (0, True)
    code, text = invoke(place, show_command, "queue-depth")
    assert code == 0
    for words in ("does queue-depth", "one of intake, archive", "1 operator", handler_digest(QUEUE), "this host"):
        assert words in text
    assert "policy 2 does not list it" in invoke(place, show_command, "inventory")[1]
    code, text = invoke(place, show_command, "no-such-thing")
    assert (code, "no such file" in text) == (6, True)


def test_a_handler_of_a_release_that_waits_is_explained_with_its_release(place: Place, tmp_path: Path) -> None:
    """New ones, and another definition of one that is there; never the same one again."""
    changed = msgspec.structs.replace(QUEUE, does="counts jobs faster")
    fresh = handler("drain", "act", "nothing", risk="disruptive", parameters={"hard": Values(type="bool")})
    same = handling().handlers[1]
    vendor = handling("1.1.0", 2, handlers=(changed, fresh, same, handler("inventory", "act", "nothing")))
    assert invoke(place, show_command, "drain")[0] == 6
    place.receive(vendor.write(tmp_path / "2.tar"))
    code, text = invoke(place, show_command, "drain")
    words = " ".join(text.split())
    assert code == 0
    for part in (
        "of release 1.1.0, which waits as r-1.1.0: it can be run once that is installed",
        "parameter hard true or false",
        "policy 2 does not list it",
        "this host can run it" if sandboxed() else "this host cannot run it",
    ):
        assert part in words
    data = json.loads(invoke(place, show_command, "drain", "--json")[1])
    assert (data["release"], data["waits"], data["digest"]) == ("1.1.0", "r-1.1.0", handler_digest(fresh))
    code, text = invoke(place, show_command, "queue-depth")
    here, waits = (" ".join(part.split()) for part in text.split("\n\n"))
    assert "of release 1.0.0 digest" in here
    assert "does queue-depth" in here
    assert "release 1.1.0, which waits" in waits
    assert "counts jobs faster" in waits
    assert "leaves signal queue_depth: jobs, queue" in waits
    data = json.loads(invoke(place, show_command, "queue-depth", "--json")[1])
    assert (data["waits"], [other["waits"] for other in data["others"]]) == (None, ["r-1.1.0"])
    for name in ("once", "inventory"):
        assert "which waits" not in invoke(place, show_command, name)[1]


def test_before_the_first_install_those_of_the_release_are_explained(tmp_path: Path) -> None:
    place = make_place(tmp_path, vendor := handling())
    place.receive(vendor.write(tmp_path / "1.tar"))
    text = invoke(place, show_command, "queue-depth")[1]
    assert "release 1.0.0, which waits as r-1.0.0" in text
    assert "cannot run it: site.yaml names no account" in text


def sandboxed() -> bool:
    try:
        check_sandbox(find_account(USER, ours=os.geteuid()))
    except RefusedError:
        return False
    return True


def test_status_names_the_handlers_that_this_host_cannot_run(tmp_path: Path) -> None:
    bare = handling_place(tmp_path / "bare", None, "", queue_depth="allowed", once="allowed")
    assert "queue-depth, once cannot run here: site.yaml names no account" in invoke(bare, status_command)[1]
    good = handling_place(tmp_path / "good", None, str(USER), queue_depth="allowed", once="allowed")
    assert "cannot run here" not in invoke(good, status_command)[1]
    assert "cannot run here" not in invoke(bare, status_command, "--fast")[1]


def test_what_was_run_can_be_shown_and_a_request_says_why(place: Place, tmp_path: Path) -> None:
    run(place, "health-snapshot")
    began = next(one.record.event for one in place.open().entries if isinstance(one.record.event, HandlerBegan))
    code, text = invoke(place, show_command, str(place.open().document_path(began.use)))
    assert (code, '"handler": "health-snapshot"' in text) == (0, True)
    code, text = invoke(place, show_command, str(place.open().document_path(began.plan)))
    assert (code, "run at northern-grid/small/production/east; handler health-snapshot" in text) == (0, True)
    code, text = invoke(place, show_command, str(tmp_path / "note-1.json"))
    assert (code, "because: jobs wait" in text) == (0, True)


def test_after_the_end_of_the_access_only_the_verifiers_own_run(place: Place, tmp_path: Path) -> None:
    consign(place, tmp_path, request("health-snapshot"), number=2)
    assert place.tell is not None
    with place.hold() as site:
        place.tell(site, "test")
        ask_offboarding(site, "the contract ended")
        for person in ("ops-1", "sec-1"):
            agree_offboarding(site, place.people[person])
        end_access(site)
        finish_offboarding(site, place.clock.at)
    assert [item.item for item in waiting_items(place.open()) if item.head.kind == "request"] == []
    for item in ("c-1", "c-2"):
        with pytest.raises(RefusedError) as error:
            run(place, item, "ops-1")
        assert error.value.finding == "offboarded"
    with pytest.raises(RefusedError) as error:
        run(place, "queue-depth", queue="intake")
    assert error.value.finding == "no-such-handler"
    result = run(place, "health-snapshot")
    assert (result.outcome, result.report, result.error) == ("ran", None, None)


def test_a_name_of_the_verifier_is_never_a_program_of_the_release(tmp_path: Path) -> None:
    """A policy that allows a name allows what the verifier does under it. Lint refuses such a release; one may come."""
    false = handler("health-snapshot", "act", "text")
    place = handling_place(tmp_path, handling(handlers=(false,)), health_snapshot="allowed")
    known = [one for one in known_handlers(place.open()) if one.handler.name == "health-snapshot"]
    assert [(one.release, one.digest) for one in known] == [(None, handler_digest(BUILT_IN["health-snapshot"]))]
    assert run(place, "health-snapshot").values["state"] == "confirmed"


def test_what_people_here_ask_for_is_agreed_to_elsewhere_as_well(place: Place, tmp_path: Path) -> None:
    with pytest.raises(WaitingError):
        run(place, "queue-depth", queue="archive")
    opened = open_request(ask(place, tmp_path / "desk", "h-1"))
    text = page(opened.review_input, opened.asked, opened.status)
    assert "asked for here by the account ops1" in text
    assert "the outcome stays here" in text
    _, path = sign_answer(opened, place.people["ops-1"], "approve", None, None)
    receive(place, path)
    # The answer is for this very use: the same handler with another parameter has no approval.
    with pytest.raises(WaitingError):
        run(place, "queue-depth", queue="intake")
    assert run(place, "h-1").item == "h-1"
