"""A consignment at a real site: taken in once, by the right site, from the right role; answered in the next report."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from manifests.documents import report as r
from manifests.documents import signed_report
from manifests.documents.consignment import CONSIGNMENT_TYPE, Consignment, Newest, Request
from manifests.documents.report import Acknowledged
from manifests.trust.envelope import Envelope
from manifests.trust.envelope_writer import seal
from manifests.trust.private_keys import generate_key
from manifests.trust.revocations import REVOCATIONS_TYPE, Revocations
from manifests.trust.root import Mark
from manifests.words.canonical import decode, encode
from manifests.words.digest import digest_of
from manifests.words.errors import WaybillError
from tests.consignments import challenge_of, consignment_for, signed
from tests.place import Place, make_place
from tests.unit.verifier.watching import unwatched
from tests.vendor import CONSIGNMENT, RELEASE, ROLLBACK, ROOT, STRANGER, Vendor
from verifier.commands.receive import receive_command
from verifier.commands.status import status_command
from verifier.intake.media import receive_media
from verifier.reporting.report_write import export_reports, write_report
from verifier.site.journal.events import Alarm, Consigned

ONE = Vendor(version="1.0.0", sequence=1)
OTHER = "sha256:" + "77" * 32


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return told(make_place(tmp_path, ONE))


def told(place: Place) -> Place:
    place.tell = lambda site, cause: write_report(site, site.disk, place.clock.at, cause=cause)
    return place


def write(place: Place, count: int = 1) -> signed_report.SignedReport:
    with place.hold() as site:
        for _ in range(count):
            path = write_report(site, site.disk, place.clock.at)
    return signed_report.verify_report(path.read_bytes(), place.open().state.site_key)


def newest(place: Place) -> r.Report:
    state = place.open().state
    raw = (place.path / "outbox" / f"{state.reports.seq}.report.json").read_bytes()
    return signed_report.verify_report(raw, state.site_key).report


def receive(place: Place, *paths: Path, code: int = 0) -> dict[str, Any]:
    words = [*map(str, paths), "--site", str(place.path), "--json"]
    found = CliRunner().invoke(receive_command, words, catch_exceptions=False)
    assert found.exit_code == code, found.output
    shown: dict[str, Any] = json.loads(found.stdout)
    return shown


def put(path: Path, raw: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)
    return path


def bring(place: Place, tmp_path: Path, said: Consignment, code: int = 0) -> dict[str, Any]:
    return receive(place, put(tmp_path / f"note-{said.number}", signed(said)), code=code)


def taken(place: Place) -> list[Consigned]:
    return [one.record.event for one in place.open().entries if isinstance(one.record.event, Consigned)]


def test_the_challenge_is_echoed_by_a_new_report(place: Place, tmp_path: Path) -> None:
    write(place, 2)
    shown = bring(place, tmp_path, consignment_for(place.open().state, acknowledge=True))
    assert shown["consignments"][0]["new"] is True
    chain = newest(place).chain
    assert chain.seq == 3
    assert chain.cause == "consignment"
    assert chain.challenge == digest_of(bytes.fromhex(challenge_of(1)))
    write(place)
    assert newest(place).chain.challenge == chain.challenge


def test_what_was_acknowledged_is_not_summed_up_again(place: Place, tmp_path: Path) -> None:
    raws = [write(place) for _ in range(5)]
    assert [one.seq for one in newest(place).chain.earlier] == [1, 2, 3, 4]
    third = Acknowledged(seq=3, digest=raws[2].digest)
    bring(place, tmp_path, consignment_for(place.open().state, acknowledged=third))
    chain = newest(place).chain
    assert (chain.seq, chain.acknowledged, [one.seq for one in chain.earlier]) == (6, third, [4, 5])
    # An older acknowledgement in a later consignment takes nothing back.
    first = Acknowledged(seq=1, digest=raws[0].digest)
    bring(place, tmp_path, consignment_for(place.open().state, 2, acknowledged=first))
    chain = newest(place).chain
    assert (chain.acknowledged, [one.seq for one in chain.earlier]) == (third, [4, 5, 6])
    bring(place, tmp_path, consignment_for(place.open().state, 3, acknowledge=True))
    chain = newest(place).chain
    assert (chain.seq, chain.acknowledged and chain.acknowledged.seq, chain.earlier) == (8, 7, ())
    out = tmp_path / "out"
    out.mkdir()
    with place.hold() as site:
        copied = export_reports(site, site.disk, out, most=12)
    assert [one.name.split(".")[-3] for one in copied] == ["8"]


def test_an_acknowledgement_inside_what_was_omitted(place: Place, tmp_path: Path) -> None:
    """Seventy reports, the oldest omitted; home acknowledges one of those, then the file before is lost."""
    digests = [write(place).digest for _ in range(70)]
    chain = newest(place).chain
    assert chain.omitted is not None
    assert chain.omitted.last == 69 - r.MAX_EARLIER
    third = Acknowledged(seq=3, digest=digests[2])
    bring(place, tmp_path, consignment_for(place.open().state, acknowledged=third))
    chain = newest(place).chain
    assert chain.omitted is not None
    assert (chain.omitted.first, chain.omitted.last) == (4, 70 - r.MAX_EARLIER)
    (place.path / "outbox" / "71.report.json").unlink()
    chain = write(place).report.chain
    assert (chain.acknowledged, chain.earlier) == (third, ())
    assert chain.omitted is not None
    assert (chain.omitted.first, chain.omitted.last, chain.omitted.digest) == (4, 71, chain.previous)


def test_the_same_medium_twice(place: Place, tmp_path: Path) -> None:
    write(place)
    note = put(tmp_path / "m" / "note", signed(consignment_for(place.open().state, acknowledge=True)))
    receive(place, tmp_path / "m")
    before = place.open().state.head
    for named in (tmp_path / "m", note):
        shown = receive(place, named)
        assert (shown["consignments"][0]["new"], shown["report"]) == (False, None)
    assert place.open().state.head == before
    put(tmp_path / "m" / "copy", note.read_bytes())
    assert len(receive(place, tmp_path / "m")["consignments"]) == 2


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"site": "northern-grid/small/production/west"}, "consignment-other-site"),
        ({"site_key": generate_key().public.keyid}, "consignment-other-key"),
        ({"number": 4}, "consignment-old"),
        ({"number": 5}, "consignment-old"),
        ({"acknowledged": Acknowledged(seq=1, digest=OTHER)}, "acknowledgement-unknown"),
        ({"acknowledged": Acknowledged(seq=9, digest=OTHER)}, "acknowledgement-unknown"),
    ],
)
def test_what_is_refused(place: Place, tmp_path: Path, changes: dict[str, Any], finding: str) -> None:
    """For another site or key, or with an old number: D-5.3."""
    write(place)
    bring(place, tmp_path, consignment_for(place.open().state, 5))
    before = place.open().state
    wrong = replace(consignment_for(before, 6), challenge="ab" * 32, **changes)
    shown = receive(place, put(tmp_path / "wrong", signed(wrong)), code=5)
    assert shown["error"]["finding"] == finding
    after = place.open().state
    assert (after.reports.consignment, after.reports.challenge) == (5, before.reports.challenge)
    # Only what home must hear of is told.
    assert after.reports.seq == before.reports.seq + (finding == "acknowledgement-unknown")
    assert len(taken(place)) == 1


def test_an_acknowledgement_of_what_was_never_sent_is_told_at_home(place: Place, tmp_path: Path) -> None:
    """Once, however often the medium is put in."""
    write(place)
    wrong = consignment_for(place.open().state, acknowledged=Acknowledged(seq=1, digest=OTHER))
    for _ in range(3):
        bring(place, tmp_path, wrong, code=5)
    alarms = [one.record.event for one in place.open().entries if isinstance(one.record.event, Alarm)]
    assert [one.code for one in alarms] == ["acknowledgement-unknown"]
    assert [one.code for one in write(place).report.trust.alarms] == ["acknowledgement-unknown"]


@pytest.mark.parametrize("signer", [RELEASE, ROLLBACK, ROOT])
def test_another_role_does_not_speak_here(place: Place, tmp_path: Path, signer: Any) -> None:
    """D-5.1"""
    raw = signed(consignment_for(place.open().state), signer)
    shown = receive(place, put(tmp_path / "note", raw), code=4)
    assert shown["error"]["finding"] == "signature-role"
    assert taken(place) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"newest": tuple(Newest(channel=name, mark=Mark(epoch=1, sequence=9)) for name in ("stable", "beta"))},
        {"newest": (Newest(channel="stable", mark=Mark(epoch=1, sequence=9)),) * 2},
        {"requests": (Request(request="one", handler="restart"),) * 2},
        {"requests": (Request(request="one", handler="restart", first_report=9, last_report=8),)},
    ],
    ids=["channels-unsorted", "channel-twice", "request-twice", "window-turned"],
)
def test_one_that_is_not_in_order(place: Place, tmp_path: Path, changes: dict[str, Any]) -> None:
    """D-5.2, D-5.4"""
    wrong = replace(consignment_for(place.open().state), **changes)
    raw = seal(encode(wrong), CONSIGNMENT_TYPE, (CONSIGNMENT,))
    assert receive(place, put(tmp_path / "note", raw), code=3)["error"]["finding"] == "malformed"


def test_strangers_and_changed_bytes(place: Place, tmp_path: Path) -> None:
    said = consignment_for(place.open().state)
    for raw, finding, code in (
        (signed(said, STRANGER), "signature-unknown", 4),
        (signed(said, CONSIGNMENT, STRANGER), "signature-unknown", 4),
        (seal(b"", "x/y", ()), "", 3),
        (signed(replace(said, vendor="other-works")), "vendor-differs", 4),
        (signed(said)[:-1] + b" }", "malformed", 3),
    ):
        shown = receive(place, put(tmp_path / "note", raw), code=code)
        assert not finding or shown["error"]["finding"] == finding
    good = signed(said)
    envelope = decode(good, Envelope, "x")
    other = replace(envelope, payload=decode(signed(replace(said, number=2)), Envelope, "x").payload)
    assert receive(place, put(tmp_path / "note", encode(other)), code=4)["error"]["finding"] == "signature-wrong"
    assert taken(place) == []


def test_every_byte_of_a_consignment_flipped_is_refused(place: Place, tmp_path: Path) -> None:
    """Whether it is still recognised as a consignment or not: never taken in."""
    raw = signed(
        consignment_for(place.open().state, newest=(Newest(channel="stable", mark=Mark(epoch=1, sequence=9)),))
    )
    note = tmp_path / "note"
    with place.hold() as site:
        for at in range(len(raw)):
            for bit in (1, 0x80):
                note.write_bytes(raw[:at] + bytes([raw[at] ^ bit]) + raw[at + 1 :])
                try:
                    found = receive_media(site, (note,), keep=False, watch=unwatched)
                except WaybillError:
                    continue
                assert found.refused, at
        assert site.state.reports.consignment == 0


def test_a_medium_for_thirty_sites(place: Place, tmp_path: Path) -> None:
    state = place.open().state
    medium = tmp_path / "medium"
    for i in range(29):
        site = f"northern-grid/small/production/site-{i}"
        other = consignment_for(state, site=site, site_key=generate_key().public.keyid)
        put(medium / "for" / site.replace("/", ".") / "consignment.json", signed(other))
    put(medium / "for" / "A GUARD RENAMED THIS.TXT", signed(consignment_for(state)))
    shown = receive(place, medium)
    assert [one["number"] for one in shown["consignments"]] == [1]
    assert shown["for_other_sites"] == 29
    # Without one of its own, nothing happens and nothing is wrong.
    (medium / "for" / "A GUARD RENAMED THIS.TXT").unlink()
    shown = receive(place, medium)
    assert (shown["consignments"], shown["for_other_sites"], shown["report"]) == ([], 29, None)


def test_a_damaged_note_beside_a_good_one(place: Place, tmp_path: Path) -> None:
    state = place.open().state
    medium = tmp_path / "medium"
    put(medium / "a", signed(consignment_for(state)))
    put(medium / "b", signed(consignment_for(state))[:-40] + b"}")
    broken = signed(consignment_for(state)).replace(b'{"payload":"', b'{"payload":"!')
    put(medium / "c", broken)
    shown = receive(place, medium, code=14)
    assert [one["new"] for one in shown["consignments"]] == [True]
    assert len(shown["unread"]) == 2
    assert shown["error"]["finding"] == "medium-attention"
    assert newest(place).chain.cause == "consignment"


def test_several_for_one_site_are_taken_in_order(place: Place, tmp_path: Path) -> None:
    state = place.open().state
    for number, name in ((3, "a"), (1, "b"), (2, "c")):
        put(tmp_path / "m" / name, signed(consignment_for(state, number)))
    shown = receive(place, tmp_path / "m")
    assert [one["number"] for one in shown["consignments"]] == [1, 2, 3]
    assert newest(place).chain.challenge == digest_of(bytes.fromhex(challenge_of(3)))


def test_with_a_bundle_beside_it(place: Place, tmp_path: Path) -> None:
    medium = tmp_path / "medium"
    medium.mkdir()
    ONE.write(medium / "bundle")
    put(medium / "for" / "x" / "note", signed(consignment_for(place.open().state)))
    shown = receive(place, medium)
    assert [one["item"] for one in shown["received"]] == ["r-1.0.0"]
    assert [one["number"] for one in shown["consignments"]] == [1]


def test_a_refused_bundle_does_not_take_the_answer_away(place: Place, tmp_path: Path) -> None:
    medium = tmp_path / "medium"
    medium.mkdir()
    ONE.but(signers=(STRANGER,)).write(medium / "bundle")
    put(medium / "note", signed(consignment_for(place.open().state)))
    shown = receive(place, medium, code=14)
    (refused,) = shown["not_taken_in"]
    assert (refused["finding"], str(medium / "bundle") in refused["where"]) == ("signature-unknown", True)
    assert newest(place).chain.challenge is not None


def test_requests_are_answered_until_home_has_heard(place: Place, tmp_path: Path) -> None:
    place.bring(ONE.write(tmp_path / "1.tar"))
    one = first(place, 1)
    asked = (
        Request(request="1", handler="collect-logs"),
        Request(request="2", handler="restart", parameters={"a": "b"}),
    )
    shown = bring(place, tmp_path, consignment_for(place.open().state, requests=asked, acknowledge=True))
    assert shown["consignments"][0]["requests"] == {"1": "no-such-handler", "2": "no-such-handler"}
    expected = tuple(
        r.RequestResult(consignment=1, request=one.request, handler=one.handler, outcome="no-such-handler")
        for one in asked
    )
    assert newest(place).requests == expected
    # A consignment that acknowledges the report before the answer leaves it standing.
    bring(place, tmp_path, consignment_for(place.open().state, 2, acknowledged=Acknowledged(**one)))
    assert newest(place).requests == expected
    bring(place, tmp_path, consignment_for(place.open().state, 3, acknowledge=True))
    assert newest(place).requests == ()


def first(place: Place, seq: int) -> dict[str, Any]:
    raw = (place.path / "outbox" / f"{seq}.report.json").read_bytes()
    return {"seq": seq, "digest": digest_of(raw)}


def test_what_cannot_be_judged_is_not_waved_through(place: Place, tmp_path: Path) -> None:
    listed = Revocations(vendor="small-works", version=1, releases=(OTHER,))
    good = decode(seal(encode(listed), REVOCATIONS_TYPE, (ROOT,)), Envelope, "x")
    wrong = decode(seal(encode(listed), REVOCATIONS_TYPE, (CONSIGNMENT,)), Envelope, "x")
    shown = bring(place, tmp_path, consignment_for(place.open().state, revocations=wrong), code=4)
    assert shown["error"]["finding"] == "signature-role"
    shown = bring(place, tmp_path, consignment_for(place.open().state, authorisations=(good,)), code=3)
    assert "payload type" in shown["error"]["problem"]
    assert taken(place) == []


def test_documents_that_contradict_themselves(place: Place, tmp_path: Path) -> None:
    one = Newest(channel="stable", mark=Mark(epoch=1, sequence=9))
    state = place.open().state
    for said in (
        consignment_for(state, newest=(one, one)),
        consignment_for(state, requests=(Request(request="1", handler="a"), Request(request="1", handler="b"))),
    ):
        raw = seal(encode(said), CONSIGNMENT_TYPE, (CONSIGNMENT,))
        receive(place, put(tmp_path / "note", raw), code=3)
    assert taken(place) == []


def test_status_says_what_the_vendor_has(place: Place, tmp_path: Path) -> None:
    write(place)
    marks = (Newest(channel="stable", mark=Mark(epoch=1, sequence=9)),)
    bring(place, tmp_path, consignment_for(place.open().state, 3, newest=marks, acknowledge=True))
    shown = CliRunner().invoke(status_command, ["--site", str(place.path)], catch_exceptions=False).stdout
    assert "consignment 3; newest release stable 9" in shown
    assert "number 2; support holds 1" in shown


def test_a_site_set_up_anew_takes_nothing_of_the_old_one(tmp_path: Path) -> None:
    """Same name, another key: a note from before could otherwise have its requests run again."""
    old = told(make_place(tmp_path / "old", ONE))
    raw = signed(consignment_for(old.open().state))
    new = told(make_place(tmp_path / "new", ONE))
    shown = receive(new, put(tmp_path / "note", raw), code=5)
    assert shown["error"]["finding"] == "consignment-other-key"


def test_two_keys_of_a_site_are_named_whole(place: Place) -> None:
    state = place.open().state
    path = place.path.parent / "note"
    path.write_bytes(signed(replace(consignment_for(state), site_key="0" * 64)))
    done = CliRunner().invoke(receive_command, [str(path), "--site", str(place.path)], catch_exceptions=False)
    assert done.exit_code == 5
    assert f"the consignment is for site key {'0' * 64}; this site has {state.site_key.keyid}" in done.stderr
