"""Where a fuzzer begins: the good bytes and what the vectors made of them, each before the reader that reads it."""

import base64
import json
from collections.abc import Iterator

from content.bundle.archive import header
from content.telemetry.collector import open_collector
from manifests.documents.approval import Approval, sign_approval
from manifests.documents.handler_catalogue import BUILT_IN
from manifests.documents.handler_use import HandlerUse
from manifests.documents.plan import Plan
from manifests.documents.review_request import ApprovalAnswer
from manifests.documents.telemetry import HandlerResult
from manifests.transport.armour import armour_report
from manifests.transport.packed import pack_report
from manifests.transport.symbols import cut_report
from manifests.trust.envelope import Envelope, bundle_payload
from manifests.trust.rotation import Rotation
from manifests.words.canonical import decode, encode
from manifests.words.errors import WaybillError
from tests.fuzz.targets import (
    SOURCES,
    TARGETS,
    bulk_of_release,
    counted_signals,
    permit,
    policy,
    release,
    review_request,
    sealed,
    vendor,
)
from tests.unit.content.telemetry.signals import HOUR, NOON, look
from tests.unit.fleet.reporter import Reporter
from tests.vectors.make import frozen, topics
from tests.vectors.surgery import Case, Paper, split
from tests.vendor import CONTRACT_YAML, Vendor, derived
from verifier.collecting.kept import Kept, Progress, kept_bytes

# The archive's vectors are whole heads and bulks; more of one kind teach a fuzzer nothing and make it slow.
SMALL = 24 << 10
EVERY = 5
ZEROS = "sha256:" + "0" * 64
PLAN = Plan(
    site="a/small/production/b",
    site_key="1" * 64,
    action="install",
    generation=3,
    last_change=ZEROS,
    releases=(ZEROS,),
    policy=ZEROS,
    contract=ZEROS,
    kinds=("minor",),
)
VEX = (
    b'{"@context":"https://openvex.dev/ns/v0.2.0","@id":"x","author":"a","statements":[{"status":"fixed",'
    b'"vulnerability":{"name":"CVE-2026-1"}}],"timestamp":"2026-01-02T03:04:05Z","version":1}'
)
SBOM_STATEMENT = (
    b'{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://spdx.dev/Document","subject":[{"digest":'
    b'{"sha256":"00"}}],"predicate":{"Data":{"spdxVersion":"SPDX-2.3","packages":[{"name":"a"}]}}}'
)


def answer() -> ApprovalAnswer:
    said = Approval(
        plan=PLAN.digest, verdict="approve", keyid=derived(150).public.keyid, role="operator", request=ZEROS
    )
    envelope = decode(sign_approval(said, derived(150)), Envelope, "seed")
    return ApprovalAnswer(approval=envelope, items=("r-1.0.0",), plan=PLAN)


def seeds(target: str) -> Iterator[bytes]:
    """Inputs of ``targets.run``; the first byte chooses the reader."""
    found = {"archive": _archive, "document": _document, "envelope": _envelope, "kept": _kept}[target]
    count = len(TARGETS[target])
    for which, data in found():
        assert which < count
        yield bytes((which,)) + data


def _kept() -> Iterator[tuple[int, bytes]]:
    """States after one interval and half of the next one, and files that hold them."""
    for index, signal in enumerate(counted_signals()):
        collector = open_collector(signal)
        for at in (NOON, NOON, NOON + HOUR):
            collector = look(collector, SOURCES[index], at)
            yield 1 + index, collector.state()
            progress = Progress(address=ZEROS, looked_at="2026-11-30T12:00:00Z")
            yield 0, kept_bytes(Kept(progress, collector.state()))


def _cases() -> Iterator[Case]:
    for topic in topics().values():
        for make in list(topic.variants.values())[::EVERY]:
            if isinstance(made := make(), Case):
                yield made
    yield from frozen().values()


def _papers(topic: str) -> Iterator[Paper]:
    for make in topics()[topic].variants.values():
        if isinstance(made := make(), Paper) and len(made.raw) <= SMALL:
            yield made


def _archive() -> Iterator[tuple[int, bytes]]:
    head = vendor().bundle()[: release().bulk_at]
    yield 0, head
    yield 1, b"".join(header(part.name, len(part.data)) for part in split(vendor().bundle()))
    yield 1, header("blobs/sha256/" + "0" * 64, 9 << 30)
    yield 2, bulk_of_release()
    yield 3, bulk_of_release()
    for name, topic in topics().items():
        if name.startswith(("tar-", "head-", "bulk-", "not-")):
            for make in topic.variants.values():
                made = make()
                assert isinstance(made, Case)
                data = made.bundle
                yield 0, data[:SMALL]
                yield 2, data[-SMALL:]
                yield 3, data[-SMALL:]


def _document() -> Iterator[tuple[int, bytes]]:
    report = Reporter(signer=derived(150)).report(Vendor())
    payload = bundle_payload(report, "seed")
    yield 0, encode(release())
    yield 1, encode(vendor().root())
    yield 2, encode(vendor().contract())
    yield 3, encode(vendor().rollback())
    yield 4, encode(policy())
    yield 6, bundle_payload(vendor().head().signatures[0].bundle, "seed")
    yield 7, payload
    for which, kind in ((8, "revocations"), (9, "consignment"), (10, "enrolment"), (11, "approval")):
        yield which, next(data for type_, data, _ in sealed() if f".{kind}." in type_)
    yield 15, CONTRACT_YAML
    yield 5, encode(PLAN)
    yield 17, VEX
    yield 18, pack_report(report)
    yield 19, armour_report(report).encode()
    yield 20, "\n".join(cut_report(report)).encode()
    yield 21, encode(review_request())
    key = derived(150).public
    made = "2026-01-02T03:04:05Z"
    changed = Rotation(site=PLAN.site, former="1" * 64, key=key, key_epoch=2, after_seq=3, after=ZEROS, made_at=made)
    yield 22, encode(changed)
    yield 23, encode(answer())
    yield 24, encode(permit())
    yield 25, SBOM_STATEMENT
    for handler in BUILT_IN.values():
        yield 28, encode(handler)
    given = {"kind": "note", "days": "-3", "part": ZEROS}
    use = HandlerUse(consignment=ZEROS, request="q1", handler="journal-excerpt", definition=ZEROS, parameters=given)
    yield 26, encode(use)
    values: dict[str, bool | int | str] = {"jobs": 7, "state": "ok", "late": True}
    yield 27, encode(HandlerResult(signal="depth", start=made, release=ZEROS, values=values))
    for paper in _papers("authorisation"):
        yield 24, _payload(paper.raw)
    for case in _cases():
        try:
            parts = split(case.bundle)
        except (WaybillError, IndexError):
            continue
        for part in parts:
            if len(part.data) > SMALL or not part.data.startswith((b"{", b"[")):
                continue
            if part.name == "release.json":
                yield 0, part.data
            elif part.name.startswith("trust/"):
                yield 1, _payload(part.data)
            elif part.name.startswith("blobs/") or part.name == "index.json":
                for which in (2, 3, 12, 13, 14, 16):
                    yield which, part.data
            elif part.name.endswith(".sigstore.json"):
                yield 6, _payload(part.data)


def _payload(data: bytes) -> bytes:
    try:
        fields = json.loads(data)
        return base64.b64decode(fields.get("dsseEnvelope", fields)["payload"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return data


def _envelope() -> Iterator[tuple[int, bytes]]:
    for which, (_, _, data) in enumerate(sealed()):
        yield 0, bytes((which,)) + data
        yield (4, 5, 7, 6, 1, 12, 11)[which], data
    for one in vendor().head().signatures:
        yield 2, one.bundle
        yield 3, one.bundle
        yield 8, one.bundle
        yield 10, one.sig or b""
    yield 9, base64.b64encode(bytes(range(99)))
    for case in _cases():
        try:
            parts = split(case.bundle)
        except (WaybillError, IndexError):
            continue
        for part in parts:
            if part.name.endswith(".sigstore.json"):
                yield 2, part.data
                yield 8, part.data
            elif part.name.startswith("trust/"):
                yield 1, part.data
                yield 0, b"\4" + part.data
            elif part.name.endswith(".sig"):
                yield 10, part.data
            elif part.name == "revocations.json":
                yield 7, part.data
