"""What an approver is shown: differences, signals, ways back; nothing hostile gets through. Pure parts first."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from content.differences.compare_values import Difference
from content.differences.config import HIDDEN, config_differences
from content.differences.documents import policy_differences
from content.differences.release import advisories_between, component_differences, release_differences
from content.differences.release_documents import DocumentNote, ReleaseDocuments, notes_lines, read_release_documents
from manifests.documents import release as r
from manifests.documents.contract import Keep, Signal, SignalSource, Values
from manifests.documents.plan import Plan
from manifests.documents.policy import KINDS, ConfirmRule, Person, Policy, RefusedReleases, Windows
from manifests.documents.rollback import Backup, Rollback, Step
from manifests.foreign.sbom import SbomComponent, read_sbom
from manifests.trust.private_keys import generate_key
from manifests.words.canonical import encode
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import DamagedError, MalformedError
from tests.faults.model import QuickDisk
from tests.place import make_place
from tests.printed import printed
from tests.vendor import Vendor
from verifier.approval.page import DigestParts, Page, Row, Section, Table, as_page, cell_parts
from verifier.approval.review import Review, make_review, review_fields
from verifier.approval.review_input import ReviewInput, read_review_input
from verifier.approval.review_page import agreement_section, make_review_page
from verifier.approval.verdicts import approval_status
from verifier.change.route import plan_change
from verifier.change.space import SpaceNeed
from verifier.commands.review import review_command
from verifier.commands.show import show_command
from verifier.rules.agreement import ApprovalRequest, count_approvals, roles_needed
from verifier.runtime.drivers.driver import load_driver
from verifier.trust.findings import Finding

HOSTILE = "evil\x1b[31m\u202e\u200b\n  agreed: yes <script>alert(1)</script> \"&'"
SCHEMA = encode(
    {
        "$defs": {"secret": {"type": "string", "writeOnly": True}},
        "properties": {
            "pin": {"$ref": "#/$defs/secret"},
            "users": {"type": "array", "items": {"properties": {"code": {"type": "string", "format": "password"}}}},
        },
        "type": "object",
    }
)


def side(vendor: Vendor, **site: bytes) -> ReleaseDocuments:
    release, blobs, _ = vendor.release()

    def read(blob: Blob, limit: int) -> bytes:
        if blob.digest not in blobs:
            raise DamagedError("not here", where=blob.digest)
        assert len(blobs[blob.digest]) <= limit
        return blobs[blob.digest]

    return read_release_documents(release, digest_of(encode(release)), read, **site)  # type: ignore[arg-type]  # bytes alone are given


ADMIN = b"#!/bin/sh\n"


def blob(data: bytes) -> Blob:
    return Blob(digest=digest_of(data), size=len(data))


def openvex(**said: str) -> bytes:
    words = {"affected": {"action_statement": "wait"}, "not_affected": {"justification": "component_not_present"}}
    statements = [
        {"vulnerability": {"name": name}, "status": status, **words.get(status, {})} for name, status in said.items()
    ]
    return json.dumps(
        {
            "@context": "https://openvex.dev/ns/v0.2.0",
            "@id": "https://small-works.example/1",
            "author": "small-works",
            "timestamp": "2026-01-01T00:00:00Z",
            "version": 1,
            "statements": statements,
        }
    ).encode()


def handler(**changes: object) -> r.Handler:
    made = r.Handler(
        name="queue-depth",
        does="counts what waits",
        source="queue.py",
        run=("admin", "depth", "{queue}", "two words"),
        parameters={"queue": Values(enum=("intake", "archive"))},
        may=("read the queue",),
        risk="read-only",
        repeatable=True,
        limits=r.Limits(seconds=20, memory_bytes=1 << 20, output_bytes=1 << 10),
    )
    return msgspec.structs.replace(made, **changes)


def health(**changes: object) -> Signal:
    made = Signal(
        name="api_health",
        kind="health",
        source=SignalSource(probe="up"),
        fields={"state": Values(enum=("passing", "failing"))},
        keep=Keep(site=86400, vendor=172800),
        why="first question",
    )
    return msgspec.structs.replace(made, **changes)


def fix(advisory: str, severity: r.Severity = "high") -> r.Fix:
    return r.Fix(advisory=advisory, severity=severity, in_="api")


def first_vendor() -> Vendor:
    vex = openvex(**{"CVE-1": "fixed", "CVE-4": "fixed"})
    program = r.Program(name="admin", files={"linux/amd64": blob(ADMIN)})
    change: dict[str, object] = {
        "fixes": (fix("CVE-2"),),
        "advisories": (blob(vex),),
        "handlers": (handler(),),
        "programs": (program,),
    }
    return Vendor(extra={"vex": vex, "admin": ADMIN}, change=change)


def next_vendor() -> Vendor:
    """The next release: another contract, a migration with a point of no return, a fix and an open advisory."""
    contract = Vendor().contract()
    contract = msgspec.structs.replace(contract, version=2, signals=(*contract.signals, health()))
    rollback = Rollback(
        back_to=(">=1.0.0, <1.1.0",),
        class_="restore-only",
        offered_for_seconds=86400,
        state=(),
        backup=(
            Backup(
                name="db",
                make=("admin", "dump"),
                restore=("admin", "load"),
                try_=("admin", "try"),
                at_most_bytes=1 << 30,
                takes_seconds=300,
            ),
        ),
        steps=(
            Step(name="widen", do=("admin", "up"), undo=None, repeatable=True, after_crash="restore", takes_seconds=60),
        ),
        no_return="widen",
        loses="what was typed since",
        recovery={"rolled-back": ("Nothing.",), "inconsistent": ("Call.",)},
    )
    vex = openvex(**{"CVE-1": "affected", "CVE-4": "fixed", "CVE-5": "under_investigation"})
    documents = {
        "contract": encode(contract),
        "rollback": encode(rollback),
        "vex": vex,
        "schema": SCHEMA,
        "admin": ADMIN,
    }
    change = {
        "contract": blob(documents["contract"]),
        "rollback": blob(documents["rollback"]),
        "advisories": (blob(vex),),
        "config": r.Config(schema=blob(SCHEMA), version=1),
        "fixes": (fix("CVE-3", "critical"),),
        "handlers": (handler(risk="changes-data", run=("admin", "purge")), handler(name="dump")),
        "programs": (r.Program(name="admin", files={"linux/amd64": blob(ADMIN)}),),
        "install": (r.InstallStep(step="app", driver="files", files=("service",), downtime_seconds=90),),
        "images": (),
    }
    service = {"hello.txt": b"second\n", "run.py": b"print('hi')\n"}
    return Vendor(version="1.1.0", sequence=2, service=service, extra=documents, change=change)


def policy(number: int = 1, **changes: object) -> Policy:
    made = Policy(
        number=number,
        people={
            name: Person(role=role, keys=(KEYS[name].public,))
            for name, role in (("ops-1", "operator"), ("sec-1", "security"))
        },
        rules={kind: {"operator": 1} for kind in KINDS},
        proposer_counts=True,
        confirm=ConfirmRule(by="probes"),
        time="warn",
        windows=Windows(enforce=False),
        refuse=RefusedReleases(),
    )
    return msgspec.structs.replace(made, **changes)


KEYS = {name: generate_key() for name in ("ops-1", "sec-1")}
POLICY = policy()


def matter(before: ReleaseDocuments | None, *way: ReleaseDocuments, **changes: object) -> ReviewInput:
    plan = Plan(
        site="northern-grid/small/production/east",
        site_key=KEYS["ops-1"].public.keyid,
        action="install",
        generation=2,
        last_change=digest_of(b"change"),
        releases=tuple(one.digest for one in way),
        policy=digest_of(encode(POLICY)),
        contract=digest_of(encode(way[-1].contract)) if way else None,
        kinds=("minor",),
    )
    made = ReviewInput(item="r-1.1.0", plan=plan, policy=POLICY, before=before, releases=way)
    return replace(made, **changes)  # type: ignore[arg-type]  # names are checked at run time


def page_of(found: ReviewInput) -> tuple[Review, Page]:
    review = make_review(found)
    standing = count_approvals(POLICY, roles_needed(POLICY, found.plan.kinds), ())
    asked = ApprovalRequest(item=found.item, plan=found.plan, then="install r-1.1.0")
    return review, make_review_page(review, agreement_section(asked, standing))


def papers(found: ReviewInput) -> tuple[Review, str, str]:
    review, page = page_of(found)
    return review, printed(page), as_page(page)


def by_name(found: tuple[Difference, ...], part: str) -> dict[str, Difference]:
    return {one.name: one for one in found if one.part == part}


# --- differences ----------------------------------------------------------------------------------------------------


def test_components_of_both_formats_by_package_url() -> None:
    cyclonedx = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "components": [
            {
                "name": "core",
                "purl": "pkg:npm/%40scope/core@1.2%2Bx?os=linux#sub",
                "components": [{"name": "inner", "version": "3"}],
            },
            {"name": "raw", "purl": "pkg:npm/@scope/raw"},
            {"name": "plain", "group": "org.example", "version": "7"},
        ],
    }
    spdx = {
        "spdxVersion": "SPDX-2.3",
        "packages": [
            {
                "name": "openssl",
                "versionInfo": "wrong",
                "externalRefs": [
                    {"referenceType": "cpe23Type", "referenceLocator": "cpe:2.3:a:openssl"},
                    {"referenceType": "purl", "referenceLocator": "pkg:deb/debian/openssl@3.0.11?arch=amd64"},
                ],
            }
        ],
    }
    assert read_sbom(json.dumps(cyclonedx).encode(), "sbom").components == (
        SbomComponent(identity="inner", version="3"),
        SbomComponent(identity="org.example/plain", version="7"),
        SbomComponent(identity="pkg:npm/@scope/core", version="1.2+x"),
        SbomComponent(identity="pkg:npm/@scope/raw"),
    )
    assert read_sbom(json.dumps(spdx).encode(), "sbom").components == (
        SbomComponent(identity="pkg:deb/debian/openssl", version="3.0.11"),
    )


def test_components_are_told_once_for_all_images() -> None:
    def made(**versions: str) -> tuple[SbomComponent, ...]:
        return tuple(SbomComponent(identity=name, version=version) for name, version in versions.items())

    old = {"a": made(ssl="1", zlib="1"), "b": made(ssl="1", gone="4")}
    new = {"a": made(ssl="2", zlib="1"), "b": made(ssl="2"), "c": made(new="9")}
    found = [(one.name, one.how, one.before, one.after) for one in component_differences(old, new)]
    assert found == [
        ("gone in b", "removed", "4", None),
        ("new in c", "added", None, "9"),
        ("ssl in a, b", "changed", "1", "2"),
    ]


def test_one_component_in_two_versions_is_not_lost() -> None:
    two = (SbomComponent(identity="ssl", version="1"), SbomComponent(identity="ssl", version="3"))
    (found,) = component_differences({"a": two}, {"a": two[1:]})
    assert (found.how, found.before, found.after) == ("changed", "1, 3", "3")


def test_a_config_shows_references_and_never_secrets() -> None:
    old = {
        "host": "a",
        "db": {"password": {"secret": "file:secrets/db"}},
        "pin": "1234",
        "users": [{"code": "x1"}],
        "n": 1,
    }
    new = {
        "host": "b",
        "db": {"password": {"secret": "file:secrets/new"}},
        "pin": "9876",
        "users": [{"code": "x2"}],
        "n": True,
    }
    new |= {"api_token": "t0ps3cret", "a.b": {"c": 0.5}, "empty": {}}
    found = {
        one.name: (one.how, one.before, one.after)
        for one in config_differences(json.dumps(old).encode(), json.dumps(new).encode(), (None, SCHEMA))
    }
    assert found == {
        "host": ("changed", "a", "b"),
        "db.password": ("changed", "{secret: file:secrets/db}", "{secret: file:secrets/new}"),
        "pin": ("changed", HIDDEN, f"{HIDDEN}, another value"),
        "users[0].code": ("changed", HIDDEN, f"{HIDDEN}, another value"),
        "n": ("changed", "1", "true"),
        "api_token": ("added", None, HIDDEN),
        '"a.b".c': ("added", None, "0.5"),
        "empty": ("added", None, "{}"),
    }
    assert not [
        text for one in found.values() for text in map(str, one) if "1234" in text or "9876" in text or "t0ps" in text
    ]


def test_a_release_against_the_one_before() -> None:
    found = release_differences(side(first_vendor()), side(next_vendor()))
    assert by_name(found, "release")["version"].line() == "release    changed  version: 1.0.0 to 1.1.0"
    assert by_name(found, "images")["api"].how == "removed"
    assert by_name(found, "sbom")["thing in api"].how == "removed"
    files = by_name(found, "files")
    assert list(files) == ["service/hello.txt"]
    assert files["service/hello.txt"].how == "changed"
    handlers = by_name(found, "handlers")
    assert handlers["dump"].how == "added"
    changed = handlers["queue-depth"]
    assert changed.before == 'risk read-only; runs admin depth {queue} "two words"'
    assert changed.after == "risk changes-data; runs admin purge"
    contract = by_name(found, "contract")
    assert contract["version"].how == "changed"
    assert "state (passing|failing)" in (contract["signal api_health"].after or "")
    assert "why first question" in (contract["signal api_health"].after or "")
    rollback = by_name(found, "rollback")
    assert rollback["class"].line().endswith("stateless to restore-only")
    assert "no undo" in (rollback["migration widen"].after or "")
    assert by_name(found, "schema")["properties.pin.$ref"].after == "#/$defs/secret"
    assert by_name(found, "steps")["app"].after == "downtime 1m"
    assert release_differences(side(first_vendor()), side(first_vendor())) == ()


def test_every_bound_of_a_signal_is_a_difference() -> None:
    base = health(labels={"zone": Values(enum=("a",))}, per_seconds=60, rows=3)
    for changes in (
        {"fields": {"state": Values(enum=("passing", "failing", "x"))}},
        {"labels": {"zone": Values(enum=("a", "b"))}},
        {"per_seconds": 3600},
        {"rows": 4},
        {"keep": Keep(site=86400, vendor=864000)},
        {"source": SignalSource(probe="other")},
        {"kind": "metrics"},
        {"why": "another"},
    ):
        contracts = [
            msgspec.structs.replace(Vendor().contract(), signals=(one,))
            for one in (base, msgspec.structs.replace(base, **changes))
        ]
        old, new = (replace(side(Vendor()), contract=one) for one in contracts)
        assert [one.name for one in release_differences(old, new)] == ["signal api_health"], changes


def test_what_going_forward_and_back_does_to_advisories() -> None:
    old, new = side(first_vendor()), side(next_vendor())
    forward = advisories_between(old, new)
    assert forward.fixed == (("CVE-3", "critical"),)
    assert forward.reopened == ("CVE-1",)  # fixed before, and the new release's own statement says affected
    between = Vendor(version="1.0.5", sequence=2, change={"fixes": (fix("CVE-9", "low"),)}).release()[0]
    assert ("CVE-9", "low") in advisories_between(old, new, left=(between,)).fixed
    back = advisories_between(new, old, left=(between,))
    assert back.reopened == ("CVE-3", "CVE-9")
    assert "CVE-4" not in back.reopened  # fixed on both sides
    clean = replace(old, advisories={**old.advisories, "CVE-3": frozenset({"not_affected"})})
    assert advisories_between(new, clean).reopened == ()


def test_what_cannot_be_read_is_said_and_not_passed_over() -> None:
    release, blobs, _ = first_vendor().release()

    def read(wanted: Blob, _: int) -> bytes:
        if wanted.digest in {one.digest for image in release.images for one in image.sboms}:
            raise DamagedError("not here", where=wanted.digest)
        return blobs[wanted.digest]

    found = read_release_documents(release, digest_of(encode(release)), read)
    assert found.unread == ("SBOM of image api of 1.0.0: not here",)
    assert found.contract is not None
    _, text, page = papers(matter(None, found))
    assert "not compared: SBOM of image api of 1.0.0" in text
    assert "not compared: SBOM of image api of 1.0.0" in page


@pytest.mark.parametrize(
    ("part", "section", "reason"),
    [
        (
            "contract",
            "telemetry contract: every signal that may leave",
            "the telemetry contract of 1.0.0 cannot be read",
        ),
        ("rollback", "rollback", "the rollback document of 1.0.0 cannot be read"),
        ("sbom", "software inside the images", "the SBOM of image api of 1.0.0 cannot be read"),
        ("advisories", "advisories", "the advisories of 1.0.0 cannot be read"),
    ],
)
def test_a_side_that_cannot_be_read_is_not_compared_as_if_it_were_empty(part: str, section: str, reason: str) -> None:
    release, blobs, _ = first_vendor().release()
    lost = {
        "contract": release.contract.digest,
        "rollback": release.rollback.digest,
        "sbom": release.image("api").sboms[0].digest,
        "advisories": release.advisories[0].digest,
    }[part]

    def read(wanted: Blob, _: int) -> bytes:
        if wanted.digest == lost:
            raise DamagedError("not here", where=wanted.digest)
        return blobs[wanted.digest]

    old = read_release_documents(release, digest_of(encode(release)), read)
    new = side(next_vendor())
    assert by_name(release_differences(side(first_vendor()), new), part)
    for differences in (release_differences(old, new), release_differences(new, old)):
        assert not by_name(differences, part)
        assert by_name(differences, "release")
    review, text, page = papers(matter(old, new))
    lines = text.splitlines()
    assert lines[lines.index(section) + 1] == f"  not comparable, because {reason}: not here"
    assert f"not comparable, because {reason}: not here" in plain(page)
    assert any(line.startswith("  not compared: ") for line in lines[lines.index("warnings") :])
    assert review_fields(review)["unread"] == [
        f"{reason.removeprefix('the ').removesuffix(' cannot be read')}: not here"
    ]
    assert {signal.how for signal in review.telemetry.signals} & {"not compared"} == (
        {"not compared"} if part == "contract" else set()
    )


def test_an_unread_advisory_document_fixes_and_reopens_nothing() -> None:
    old, new = side(first_vendor()), side(next_vendor())
    note = DocumentNote("advisories", "unread", "advisories of 1.0.0", "not here")
    blind = advisories_between(replace(old, advisories={}, notes=(note,)), new)
    assert blind.reopened == ()
    assert {name for name, _ in blind.fixed} <= {fix.advisory for fix in new.release.fixes}


def test_an_sbom_with_nameless_entries_is_compared_and_warned_of() -> None:
    def with_sbom(version: str, sequence: int, *components: dict[str, object]) -> ReleaseDocuments:
        made = Vendor(version=version, sequence=sequence)
        release, blobs, _ = made.release()
        sbom = release.image("api").sboms[0].digest
        data = json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.6", "components": list(components)}).encode()
        return read_release_documents(
            release, digest_of(encode(release)), lambda one, _: data if one.digest == sbom else blobs[one.digest]
        )

    old = with_sbom("1.0.0", 1, {"name": "a", "version": "1"})
    _, text, _ = papers(matter(old, with_sbom("1.1.0", 2, {"name": "a", "version": None}, {"name": ""})))
    what = "the SBOM of image api of 1.1.0"
    assert f"not entirely comparable, because of {what}: 1 entry without a name, beside 1 component" in text
    assert "used: SBOM of image api of 1.1.0: CycloneDX 1.6, 1 component, sha256:" in text
    assert "~  a in api" in text
    _, text, _ = papers(matter(old, with_sbom("1.1.0", 2, {"name": ""}, {"name": None})))
    assert f"not comparable, because {what} cannot be read: it lists 2 entries and no name" in text
    assert "removed" not in text.partition("software inside the images")[2].partition("\n\n")[0]


def test_policies_person_by_person_and_rule_by_rule() -> None:
    lower = policy(
        2,
        people={"ops-1": POLICY.people["ops-1"]},
        rules={**POLICY.rules, "major": {"operator": 2}},
        veto=("operator",),
    )
    found = by_name(policy_differences(POLICY, lower), "policy")
    assert set(found) == {"number", "person sec-1", "rule major", "veto"}
    assert found["person sec-1"].how == "removed"
    assert (found["rule major"].before, found["rule major"].after) == ("1 operator", "2 operator")


# --- the review -----------------------------------------------------------------------------------------------------


def test_the_review_of_an_upgrade() -> None:
    found = matter(
        side(first_vendor()),
        side(next_vendor(), config=b'{"host":"a"}', settings=b'{"labels":["x"]}'),
        rooms=(SpaceNeed(("store",), 5000, 7, 4000, 10),),
        work=("back up db: admin dump", "migrate, step widen: admin up"),
        findings=(
            Finding("late", "warning", "a newer release was expected"),
            Finding("root", "ok", "small-works, root 1"),
        ),
    )
    review, text, page = papers(found)
    assert review.title == "small 1.0.0 to 1.1.0"
    assert {one.name: one.how for one in review.telemetry.signals} == {"install_state": "same", "api_health": "added"}
    assert {one.name: one.how for one in review.handlers} == {"queue-depth": "changed", "dump": "added"}
    assert review.back is not None
    assert review.back.reopens == ("CVE-3",)
    assert review.back.beyond == "only the backup is left (db)"
    assert (review.downtime_seconds, review.back.takes_seconds, review.back.backup_bytes) == (90, 360, 1 << 30)
    for said in (
        "opens again: CVE-1",
        "no return after step widen: only the backup is left (db)",
        "not rehearsed",
        "what was typed since",
        "identity, chain, trust",
        "store (optional)",
        "first question",
        "1d at the site, 2d by the vendor",
        "changes-data; may read the queue",
        "admin purge",
        "operator",
        "0 of 1",
        "about 1m",
        "needs 4.9 KiB and 7 files",
        "does not fit",
        "a newer release was expected",
        review.plan,
        review.telemetry.contract,
    ):
        assert said in text, said
        assert said in plain(page), said
    assert json.loads(msgspec.json.encode(review_fields(review)))["signals"][1]["facts"]["why"] == "first question"


def test_a_short_review_shows_every_signal_and_handler_that_people_agree_to() -> None:
    contract = Vendor().contract()
    signals = tuple(health(name=f"signal-{i:02}", why=f"reason {i:02}") for i in range(9))
    change: dict[str, object] = {
        "handlers": tuple(handler(name=f"handler-{i}") for i in range(9)),
        "programs": (r.Program(name="admin", files={"linux/amd64": blob(ADMIN)}),),
    }
    after = side(Vendor(extra={"admin": ADMIN}, change=change))
    after = replace(after, contract=msgspec.structs.replace(contract, signals=(*contract.signals, *signals)))
    text = printed(page_of(matter(None, after))[1], brief=True)
    assert [i for i in range(9) if f"reason {i:02}" not in text or f"handler-{i}" not in text] == []
    changed = tuple(Row((f"signal-{i}",), "changed") for i in range(9))
    table = Table(("signal",), (*changed, Row(("old",), "same")), every_change=True)
    assert (table.first_rows, [row.cells for row in table.folded_rows]) == (changed, [("old",)])


def test_the_review_of_a_first_install_counts_what_nobody_reads() -> None:
    many = {f"file-{i:02}.txt": b"%d" % i for i in range(30)}
    review, everything, _ = papers(matter(None, side(Vendor(service=many))))
    text = printed(page_of(matter(None, side(Vendor(service=many))))[1], brief=True)
    assert review.title == "first install of small 1.0.0"
    assert "30 added" in text
    assert "and 24 more; --verbose lists them" in text
    assert "file-29.txt" not in text
    assert "file-29.txt" in everything
    assert len(review.part("files")) == 30
    assert "image api: signed by nobody (a test)" in text or "signed by nobody (a test)" in text
    assert {one.how for one in review.telemetry.signals} == {"added"}


def test_a_converted_image_is_called_so() -> None:
    documents = side(Vendor())
    images = tuple(msgspec.structs.replace(one, converted="docker-archive") for one in documents.release.images)
    converted = replace(documents, release=msgspec.structs.replace(documents.release, images=images))
    change = by_name(release_differences(documents, converted), "images")["api"]
    assert change.after is not None
    assert "converted from docker-archive" in change.after
    _, text, _ = papers(matter(None, converted))
    assert "api (from docker-archive)" in text


def test_the_review_of_several_releases_as_one_plan() -> None:
    between = Vendor(version="1.0.5", sequence=2, change={"fixes": (fix("CVE-9"),)})
    last = Vendor(version="1.1.0", sequence=3)
    review, text, _ = papers(matter(side(Vendor()), side(between), side(last)))
    assert review.title == "small 1.0.0 to 1.1.0 over 1.0.5"
    assert [hop.version for hop in review.way] == ["1.0.5", "1.1.0"]
    assert review.advisories.fixed == (("CVE-9", "high"),)
    assert review.back is not None
    assert review.back.reopens == ("CVE-9",)
    assert "release 1.0.5, 1 of 2" in text


def test_the_review_of_a_new_policy_needs_no_release() -> None:
    proposed = policy(2, proposer_counts=False)
    found = matter(None, proposed=proposed)
    found = replace(found, item="policy", plan=msgspec.structs.replace(found.plan, action="policy", kinds=("policy",)))
    review, text, page = papers(found)
    assert review.title == "policy 1 to 2"
    assert "proposer counts" in text
    assert "proposer counts" in plain(page)
    assert "way back" not in text


# --- the page -------------------------------------------------------------------------------------------------------


def plain(page: str) -> str:
    """What a browser would show of it, near enough: text between tags, entities resolved."""

    class Reader(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.text: list[str] = []

        def handle_data(self, data: str) -> None:
            self.text.append(data)

    reader = Reader()
    reader.feed(page)
    return "".join(reader.text)


class Tags(HTMLParser):
    """Every tag and attribute of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def hostile_side() -> ReleaseDocuments:
    contract = msgspec.structs.replace(Vendor().contract(), purpose=HOSTILE, signals=(health(why=HOSTILE),))
    rollback = msgspec.structs.replace(Vendor().rollback(), loses=HOSTILE)
    made = side(Vendor(change={"handlers": (handler(does=HOSTILE, may=(HOSTILE,), run=("x", HOSTILE)),)}))
    components: dict[str, tuple[SbomComponent, ...]] = {"api": (SbomComponent(identity=HOSTILE, version=HOSTILE),)}
    config = json.dumps({HOSTILE: HOSTILE}).encode()
    return replace(
        made,
        contract=contract,
        rollback=rollback,
        components=components,
        advisories={HOSTILE: frozenset({"fixed"})},
        config=config,
        release_notes=tuple(HOSTILE.splitlines()),
        notes=(
            DocumentNote("sbom", "unread", HOSTILE, HOSTILE, HOSTILE),
            DocumentNote("sbom", "read", HOSTILE, HOSTILE),
        ),
    )


def test_hostile_text_is_shown_and_not_obeyed() -> None:
    found = replace(
        matter(side(Vendor()), hostile_side(), work=(HOSTILE,)), findings=(Finding("x", "warning", HOSTILE),)
    )
    _, text, page = papers(found)
    for shown in (text, page):
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]", shown)
    # A line break inside of a value makes no line of ours.
    assert not [line for line in text.splitlines() if line.strip().startswith("agreed: yes")]
    assert "evil\\u001b[31m\\u202e\\u200b\\u000a" in text
    tags = Tags(page).seen
    assert not [tag for tag, _ in tags if tag == "script"]
    assert plain(page).count("<script>alert(1)</script>") > 8


def test_the_page_needs_nothing_beside_it_and_can_be_read_by_a_machine() -> None:
    _, _, page = papers(matter(side(first_vendor()), side(next_vendor())))
    tags = Tags(page).seen
    names = [tag for tag, _ in tags]
    assert not {"script", "link", "img", "iframe", "object", "embed", "form", "base"} & set(names)
    assert not [key for _, attrs in tags for key in attrs if key.startswith("on") or key in ("src", "style")]
    assert {tag for tag, attrs in tags if "href" in attrs} == {"a"}
    assert "url(" not in page
    assert "@import" not in page
    assert names.count("h1") == 1
    assert names.count("main") == 1
    assert dict(tags)["html"]["lang"] == "en"
    ids = [attrs["id"] for _, attrs in tags if "id" in attrs]
    assert len(set(ids)) == len(ids)
    # The table of contents leads to each section of this page, and nowhere else.
    assert [attrs["href"] for tag, attrs in tags if tag == "a"] == [f"#{name}" for name in ids]
    assert {attrs["aria-labelledby"] for _, attrs in tags if "aria-labelledby" in attrs} == set(ids)
    assert {attrs.get("scope") for tag, attrs in tags if tag == "th"} == {"col", "row"}
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_release_notes_are_text_and_capped() -> None:
    lines = notes_lines(b"# New\r\n\n* a\tb\n\n\n")
    assert lines == ("# New", "", "* a b")
    long = notes_lines(("x" * 1000 + "\n" + "y\n" * 300).encode())
    assert long[0] == "x" * 500 + " …"
    assert (len(long), long[-1]) == (201, "… and 101 more lines")
    with pytest.raises(MalformedError, match=r"U\+001B"):
        notes_lines(b"\x1b[2Jagreed: yes\n")
    found = replace(side(Vendor()), release_notes=("agreed: yes", "<b>bold</b>"))
    _, text, page = papers(matter(None, found))
    assert "release notes of 1.0.0, in the vendor's words\n  | agreed: yes\n  | <b>bold</b>\n" in text
    assert "| &lt;b&gt;bold&lt;/b&gt;" in page


def test_release_notes_are_printed_as_the_vendor_wrote_them(tmp_path: Path) -> None:
    """Nothing is shortened in them, and no option of ours is put into their commands."""
    words = f"Base image sha256:{'0' * 63}7 must be there; run `waybill status` first."
    place = make_place(tmp_path, Vendor(), disk=QuickDisk())
    blob = Blob(digest=digest_of(words.encode()), size=len(words))
    vendor = Vendor(extra={"notes": words.encode()}, change={"notes": blob, "extensions": {}})
    place.receive(vendor.write(tmp_path / "1.tar"))
    for command, item in ((review_command, "r-1.0.0"), (show_command, str(tmp_path / "1.tar"))):
        done = CliRunner().invoke(command, [item, "--site", str(place.path)])
        assert done.exit_code == 0
        assert words in done.stdout
        assert "\x1e" not in done.stdout
        assert "u001e" not in done.stdout


def test_digests_on_both_sides_are_marked_where_they_differ() -> None:
    digests = ["sha256:" + "a" * 64, "sha256:" + "a" * 30 + "bc" + "a" * 32]
    row = Row(("image", f"digest {digests[0]}; to x", f"digest {digests[1]}; to x"), "changed")
    assert cell_parts(row, 1) == ("digest ", DigestParts("sha256:" + "a" * 30, "aa", "a" * 32), "; to x")
    assert cell_parts(row, 2) == ("digest ", DigestParts("sha256:" + "a" * 30, "bc", "a" * 32), "; to x")
    assert cell_parts(replace(row, mark="added"), 2)[1] == DigestParts(digests[1])
    page = as_page(Page("x", (Section("images", table=Table(("image", "before", "after"), (row,))),)))
    assert f"<code>sha256:{'a' * 30}<mark>bc</mark>{'a' * 32}</code>" in page
    assert plain(page).count(digests[0]) == plain(page).count(digests[1]) == 1


# --- at the site ----------------------------------------------------------------------------------------------------


def test_the_review_at_the_site(tmp_path: Path) -> None:
    """SBOMs and advisories are judged before the bulk is there: `receive` keeps them."""
    place = make_place(tmp_path, Vendor(), disk=QuickDisk())
    place.bring(first_vendor().write(tmp_path / "1.tar"))
    place.receive(Vendor(version="1.0.9", sequence=2, change={"fixes": (fix("CVE-9"),)}).write(tmp_path / "2.tar"))
    upgrade = Vendor(version="1.1.0", sequence=3, change={"fixes": (fix("CVE-3"),)})
    place.receive(upgrade.write(tmp_path / "3.tar"))
    site = place.open()
    change = plan_change(site, "r-1.1.0")
    found = read_review_input(site, change, load_driver)
    assert found.unread == ()
    review = make_review(found)
    assert {one.name: (one.before, one.after) for one in review.part("sbom")} == {"thing in api": ("1.0.0", "1.1.0")}
    assert [name for name, _ in review.advisories.fixed] == ["CVE-3", "CVE-9"]
    assert review.back is not None
    assert review.back.reopens == ("CVE-3", "CVE-9")
    assert review.host.rooms is not None
    assert sum(room.bytes for room in review.host.rooms) > 4 << 20
    assert review.part("settings", "config") == ()
    paper: Page = make_review_page(review, agreement_section(change, approval_status(site, change)))
    assert "next: waybill approve r-1.1.0 --plan sha256:" in printed(paper)
    place.bring(tmp_path / "3.tar")
    site = place.open()
    back = plan_change(site, "b-1")
    review = make_review(read_review_input(site, back, load_driver))
    assert review.title == "rollback to generation 1, small 1.0.0"
    assert review.advisories.reopened == ("CVE-3", "CVE-9")
    assert "opens again" in printed(make_review_page(review, agreement_section(back, approval_status(site, back))))
