"""Reports: a closed shape, rules that tie its parts together, and signatures over every byte of it."""

import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from msgspec.structs import replace

from manifests.documents import (
    report as r,
)
from manifests.documents import signed_report
from manifests.documents.contract import CORE_FIELDS, OPTIONAL_CORE_FIELDS
from manifests.trust.envelope import INTOTO, Statement, pae, statement, verify_statement
from manifests.trust.envelope_writer import sign_statement, wrap_signature
from manifests.trust.private_keys import generate_key
from manifests.words.digest import digest_of
from manifests.words.errors import MalformedError, NewerError, UntrustedError, WaybillError
from tests.unit.fleet.reporter import Reporter
from tests.vendor import Vendor

ROOT = Path(__file__).parents[4]
REPORT_MD = ROOT / "docs" / "report.md"
ONE = "sha256:" + "11" * 32
TWO = "sha256:" + "22" * 32


def test_the_core_is_what_the_contract_lists() -> None:
    assert set(r.Report.__struct_fields__) == {*CORE_FIELDS, *OPTIONAL_CORE_FIELDS}


def test_every_field_has_its_import_rule() -> None:
    text = REPORT_MD.read_text(encoding="utf-8")
    table = text.partition("## Fields and their import rules")[2].partition("\n###")[0]
    ruled = {
        name for row in table.splitlines() for name in re.findall(r"`([^`]+)`", row.partition("| ")[2].split("|")[0])
    }
    parts = {
        "identity": r.SiteIdentity,
        "chain": r.ChainLink,
        "trust": r.Trust,
        "policy": r.PolicyState,
        "install": r.Install,
        "components": r.Components,
        "config": r.ConfigState,
    }
    fields = {name for name in r.Report.__struct_fields__ if name not in parts}
    fields |= {f"{name}.{one}" for name, part in parts.items() for one in part.__struct_fields__}
    assert ruled == fields


def test_every_part_has_its_import_rule() -> None:
    """The fields of the fields: none is added without a word on what becomes of it."""
    text = REPORT_MD.read_text(encoding="utf-8").partition("### The parts, field by field")[2]
    told = {
        row.split("`")[1]: re.findall(r"`([a-z_]+)`", row.split("|")[2])
        for row in text.partition("\n\nThe importer learns")[0].splitlines()
        if row.startswith("| `")
    }
    above = {r.Report, r.SiteIdentity, r.ChainLink, r.Trust, r.PolicyState, r.Install, r.Components, r.ConfigState}
    parts = {one.__name__: [name.encode_name for name in msgspec.structs.fields(one)] for one in _structs(r.Report)}
    assert told == {name: fields for name, fields in parts.items() if name not in {one.__name__ for one in above}}


def _structs(type_: Any) -> set[type[msgspec.Struct]]:
    own = isinstance(type_, type) and issubclass(type_, msgspec.Struct)
    found = {type_} if own else set()
    for inner in [one.type for one in msgspec.structs.fields(type_)] if own else get_args(type_):
        found |= _structs(inner)
    return found


def test_a_report_comes_back_as_it_was_signed() -> None:
    site = Reporter()
    said = site.next(Vendor())
    raw = signed_report.sign_report(said, digest_of(site.enrolment), site.signer)
    found = signed_report.verify_report(raw, site.signer.public)
    assert found.report == said
    assert said.install.release is not None
    assert found.subject == said.install.release.digest
    assert found.digest == digest_of(raw)


def test_the_first_report_is_about_the_enrolment() -> None:
    site = Reporter()
    found = signed_report.verify_report(site.report(), site.signer.public)
    assert found.subject == digest_of(site.enrolment) == found.report.chain.previous


def test_no_field_can_hold_a_sentence() -> None:
    """Every text of the shape has a pattern that admits no space, so no name, path or log line fits."""
    schema = msgspec.json.schema(r.Report)
    texts = []

    def visit(node: Any) -> None:
        if isinstance(node, dict):
            if node.get("type") == "string":
                texts.append(node)
            for value in node.values():
                visit(value)
        elif isinstance(node, list):
            for value in node:
                visit(value)

    visit(schema)
    assert len(texts) > 40
    for node in texts:
        assert "pattern" in node
        assert not re.search(node["pattern"], "Jane Doe")
        assert not re.search(node["pattern"], "/etc/passwd")


def test_every_list_is_bounded() -> None:
    def visit(node: Any) -> None:
        if isinstance(node, dict):
            if node.get("type") == "array":
                assert "maxItems" in node
            for value in node.values():
                visit(value)
        elif isinstance(node, list):
            for value in node:
                visit(value)

    visit(msgspec.json.schema(r.Report))


def test_every_byte_counts() -> None:
    site = Reporter()
    raw = site.report(Vendor())
    for at in range(len(raw)):
        changed = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        with pytest.raises(WaybillError):
            signed_report.verify_report(changed, site.signer.public)


# D-2.2
def test_another_key_is_not_this_site() -> None:
    site = Reporter()
    with pytest.raises(MalformedError, match="another key"):
        signed_report.verify_report(site.report(), generate_key().public)
    other = generate_key()
    payload = verify_statement(site.report(), site.signer.public, "report")
    forged = wrap_signature(payload, other.sign(pae(INTOTO, payload)), site.signer.public)
    with pytest.raises(UntrustedError):
        signed_report.verify_report(forged, site.signer.public)


def signed(value: Statement[Any], site: Reporter) -> bytes:
    return sign_statement(value, site.signer)


def test_a_release_statement_is_no_report() -> None:
    site = Reporter()
    said = statement(site.next(), "urn:waybill:release:1", name="enrolment.json", digest=ONE)
    with pytest.raises(MalformedError, match="urn:waybill:release:1"):
        signed_report.verify_report(signed(said, site), site.signer.public)


# D-2.3
def test_a_later_kind_is_newer_not_broken() -> None:
    site = Reporter()
    for predicate in (site.next(), {"entirely": "different"}):
        said = statement(predicate, "urn:waybill:report:2", name="enrolment.json", digest=ONE)
        with pytest.raises(NewerError, match="urn:waybill:report:2"):
            signed_report.verify_report(signed(said, site), site.signer.public)


# D-2.4
def test_the_subject_is_what_is_installed() -> None:
    site = Reporter()
    said = site.next(Vendor())
    for name, digest in (("release.json", TWO), ("enrolment.json", digest_of(site.enrolment))):
        with pytest.raises(MalformedError, match="subject"):
            signed_report.verify_report(
                signed(statement(said, r.REPORT_TYPE, name=name, digest=digest), site), site.signer.public
            )


def earlier(*seqs: int) -> tuple[r.Earlier, ...]:
    return tuple(
        r.Earlier(seq=seq, digest=ONE, made_at="2026-01-02T03:04:05Z", cause="install", state="none") for seq in seqs
    )


CHAIN = r.ChainLink(
    seq=3,
    previous=ONE,
    made_at="2026-01-02T03:04:05Z",
    cause="install",
    earlier=earlier(1, 2),
    journal=r.ReportedJournal(entries=1, head=ONE),
)
COMPONENT = r.ReportedComponent(kind="image", name="api", step="app", expected=ONE, found="same", level="placed")


# D-2.5, D-2.8
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chain": replace(CHAIN, earlier=earlier(1, 3))}, "report 3 follows report 1"),
        ({"chain": replace(CHAIN, earlier=earlier(2))}, "does not begin after"),
        ({"chain": replace(CHAIN, earlier=())}, "not all accounted for"),
        ({"chain": replace(CHAIN, earlier=earlier(1, 2, 3))}, "not all accounted for"),
        ({"chain": replace(CHAIN, previous=TWO)}, "not the digest of the last report"),
        ({"chain": replace(CHAIN, acknowledged=r.Acknowledged(seq=1, digest=ONE))}, "does not begin after"),
        ({"chain": replace(CHAIN, omitted=r.Omitted(first=2, last=1, digest=ONE))}, "does not begin after"),
        ({"install": r.Install(state="confirmed")}, "does not agree"),
        ({"components": r.Components(listed=(COMPONENT,))}, "although no release is installed"),
        ({"components": r.Components(more_same=1)}, "although no release is installed"),
        (
            {"waiting": (r.WaitingItem(item="r-1", kind="release", since="2026-01-02T03:04:05Z", since_seq=9),)},
            "waits since report 9",
        ),
        (
            {"waiting": (r.WaitingItem(item="r-1", kind="release", since="2026-01-02T03:04:05Z", since_seq=1),) * 2},
            "have one name",
        ),
        ({"requests": (r.RequestResult(request="q1", handler="tail", outcome="ran"),)}, "no use of the site's own"),
        ({"requests": (r.RequestResult(request="h-1", handler="tail", outcome="ran"),) * 2}, "or one twice"),
        ({"health": (r.ReportedHealth(probe="a", generation=2, state="not-observed"),)}, "generation 2, nothing runs"),
        (
            {
                "install": r.Install(
                    state="none",
                    generations=(
                        r.ReportedGeneration(number=2, release=ONE, version="1", state="a"),
                        r.ReportedGeneration(number=1, release=ONE, version="1", state="a"),
                    ),
                )
            },
            "generations are not sorted",
        ),
    ],
)
def test_a_contradiction_is_refused_by_writer_and_reader(change: dict[str, Any], message: str) -> None:
    site = Reporter()
    good = replace(site.next(), chain=CHAIN)
    signed_report.check_report(good, "report")
    wrong = replace(good, **change)
    with pytest.raises(MalformedError, match=message):
        signed_report.sign_report(wrong, ONE, site.signer)
    said = signed_report.report_statement(wrong, ONE)
    with pytest.raises(MalformedError):
        signed_report.verify_report(signed(said, site), site.signer.public)


@pytest.mark.parametrize(
    "listed",
    [
        (replace(COMPONENT, found="differs"),),
        (replace(COMPONENT, observed=TWO),),
        (replace(COMPONENT, found="differs", observed=ONE),),
        (replace(COMPONENT, name="b"), COMPONENT),
        (COMPONENT, COMPONENT),
    ],
    ids=["differs unseen", "same but seen", "differs in nothing", "unsorted", "twice"],
)
def test_components_say_what_was_seen_exactly_when_it_differs(listed: tuple[r.ReportedComponent, ...]) -> None:
    good = Reporter().next(Vendor())
    with pytest.raises(MalformedError):
        signed_report.check_report(replace(good, components=r.Components(listed=listed)), "report")


def test_two_hundred_images_fit() -> None:
    site = Reporter()
    for _ in range(5):
        site.report(Vendor())
    good = site.next(Vendor())
    listed = tuple(replace(COMPONENT, name=f"image-with-a-usual-name-{i:03}") for i in range(200))
    core = signed_report.encode_report(replace(good, components=r.Components(listed=listed)), ONE)
    assert len(core) < r.MAX_CORE * 3 // 4


# D-2.1
def test_a_longer_core_is_neither_written_nor_read() -> None:
    site = Reporter()
    good = site.next(Vendor())
    listed = tuple(replace(COMPONENT, name=f"{i:03}-" + "x" * 100) for i in range(400))
    wrong = replace(good, components=r.Components(listed=listed))
    with pytest.raises(MalformedError, match="65536"):
        signed_report.sign_report(wrong, ONE, site.signer)
    with pytest.raises(MalformedError, match="at most"):
        signed_report.verify_report(signed(signed_report.report_statement(wrong, ONE), site), site.signer.public)


def test_components_of_a_release_are_those_of_its_steps() -> None:
    release, _, _ = Vendor().release()
    found = signed_report.expected_components(release)
    assert [(one.kind, one.name, one.step) for one in found] == [
        ("files", "service", "app"),
        ("image", "api", "images"),
    ]
    assert found[1].digest == release.images[0].manifest.digest


# D-2.7
def test_an_offboarding_claims_nothing_before_its_time() -> None:
    plan = digest_of(b"plan")
    tried = r.NegativeProbe(kind="bundle", artefact=digest_of(b"b"), outcome="refused", finding="root-unknown")
    good = r.ReportedOffboarding(
        reason="retired", plan=plan, removed=True, probes=(tried,), final=True, key="destroyed"
    )
    site = Reporter()
    said = site.next()

    def with_(one: r.ReportedOffboarding) -> r.Report:
        return replace(said, trust=replace(said.trust, offboarding=one))

    signed_report.check_report(with_(good), "report")
    signed_report.check_report(with_(r.ReportedOffboarding(reason="ended", plan=plan)), "report")
    for wrong in (
        replace(good, removed=False),
        replace(good, reason="ended"),
        replace(good, final=False),
        replace(good, probes=(replace(tried, finding=None),)),
        replace(good, probes=(replace(tried, artefact=None),)),
        replace(good, probes=(replace(tried, kind="signature"), tried)),
    ):
        with pytest.raises(MalformedError, match="offboarding"):
            signed_report.check_report(with_(wrong), "report")
