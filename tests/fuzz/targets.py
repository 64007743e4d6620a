"""What a fuzzer calls: any bytes at all are read, or refused by an error of our tree; and what is read is what it says.

The first byte of an input chooses the reader, so that one corpus serves all readers of a target.
"""

import io
import os
from collections.abc import Callable
from functools import cache

from content.bundle.archive import BLOCK, header, parse_header
from content.bundle.bulk import verify_file, verify_stream
from content.bundle.head import read_head
from content.bundle.head_writer import encode_head
from content.bundle.oci import OCI_INDEX, OCI_MANIFEST, parse_oci, read_json
from content.bundle.places import find_places
from content.sigstore.sigstore_bundle import parse_sigstore_bundle
from content.telemetry.collector import open_collector
from manifests.authored.handwritten import parse_handwritten
from manifests.authored.policy_yaml import compile_policy
from manifests.documents.approval import APPROVAL_TYPE, Approval, sign_approval, verify_approval
from manifests.documents.authorisation import AUTHORISATION_TYPE, Authorisation, Left, Reached, verify_authorisation
from manifests.documents.consignment import CONSIGNMENT_TYPE, Consignment, sign_consignment, verify_consignment
from manifests.documents.contract import Signal, parse_contract
from manifests.documents.enrolment import ENROLMENT_TYPE, Enrolment, sign_enrolment, verify_enrolment
from manifests.documents.handler_use import parse_handler_use
from manifests.documents.plan import Plan, parse_plan
from manifests.documents.policy import KINDS, Policy, parse_policy
from manifests.documents.release import Handler, Predicate, Release
from manifests.documents.release_reader import parse_release
from manifests.documents.report import ReportStatement
from manifests.documents.review_request import REQUEST_TYPE, ReviewRequest, parse_answer, sign_request, verify_request
from manifests.documents.rollback import parse_rollback
from manifests.documents.signed_report import verify_report
from manifests.documents.telemetry import parse_handler_result
from manifests.foreign.attachments import check_openvex
from manifests.foreign.sbom import read_sbom
from manifests.foreign.statement import read_attested_sbom
from manifests.transport.armour import find_armour, open_armour
from manifests.transport.packed import unpack_report
from manifests.transport.symbols import parse_symbol
from manifests.transport.telephone import parse_line
from manifests.trust.envelope import Envelope, Statement, bundle_payload, parse_envelope, verify_statement
from manifests.trust.envelope_writer import add_signatures, encode_root, seal
from manifests.trust.keys import decode_base64, encode_base64
from manifests.trust.revocations import REVOCATIONS_TYPE, Revocations, verify_revocations
from manifests.trust.root import MAX_ROOT, ROOT_TYPE, Chain, Mark, Pin, Root, check_root, parse_root, verify_chain
from manifests.trust.rotation import Rotation
from manifests.words.canonical import decode, encode, parse
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import WaybillError
from manifests.words.progress import no_progress
from tests.unit.content.telemetry.signals import HOUR, NOON, logs, metrics, traces
from tests.vendor import CONSIGNMENT, ROLLBACK, ROOT, Vendor, derived
from verifier.collecting.kept import kept_bytes, parse_kept

KEY = derived(160)  # signs what is below, and nothing else anywhere
Reader = Callable[[bytes], object]
MAX = 1 << 20


# --- the archive ------------------------------------------------------------------------------------------------------


@cache
def vendor() -> Vendor:
    return Vendor(signers=(KEY,), recorded=(KEY,), service={"hello.txt": b"hello\n"}, images=False)


@cache
def release() -> Release:
    return vendor().release()[0]


@cache
def bulk_of_release() -> bytes:
    return vendor().bundle()[release().bulk_at :]


def whole_head(data: bytes) -> None:
    """A head that is read has no other spelling."""
    head = read_head(io.BytesIO(data).read)
    assert encode_head(head) == data[: head.bulk_at]


def headers(data: bytes) -> None:
    for at in range(0, len(data) - BLOCK + 1, BLOCK):
        block = data[at : at + BLOCK]
        name, size = parse_header(block, "fuzz")
        assert header(name, size) == block


def bulk_by_file(data: bytes) -> None:
    """Under a trusted head: complete bytes are the bytes that were signed, in the file's way."""
    descriptor = os.memfd_create("bulk")
    try:
        os.pwrite(descriptor, data, release().bulk_at)
        bulk = find_places(descriptor, release(), "fuzz")
        verify_file(descriptor, bulk, "fuzz", workers=1, advance=no_progress)
        assert bulk.missing or data == bulk_of_release()
    finally:
        os.close(descriptor)


def bulk_by_pipe(data: bytes) -> None:
    bulk, _ = verify_stream(io.BytesIO(data), release(), "fuzz", advance=no_progress)
    assert bulk.missing or data == bulk_of_release()


# --- documents --------------------------------------------------------------------------------------------------------


def canonical(read: Callable[[bytes], object]) -> Reader:
    """A document of ours that is read has no other spelling."""

    def check(data: bytes) -> None:
        assert encode(read(data)) == data

    return check


def of_type(type_: type[object]) -> Reader:
    return canonical(lambda data: parse(data, type_, "fuzz", max_bytes=MAX))


def root_payload(data: bytes) -> None:
    root = parse(data, Root, "fuzz", max_bytes=MAX_ROOT)
    check_root(root, "fuzz")
    assert encode_root(root) == data


def armour(data: bytes) -> None:
    for block in find_armour(data):
        open_armour(block, "fuzz")


def spoken(data: bytes) -> None:
    for line in data.decode("utf-8", "replace").splitlines()[:64]:
        for read in (parse_line, lambda text: parse_symbol(text, "fuzz")):
            try:
                read(line)
            except WaybillError:
                continue


# --- envelopes --------------------------------------------------------------------------------------------------------


@cache
def pin() -> Pin:
    return vendor().pin()


@cache
def chain() -> Chain:
    return verify_chain((vendor().root_file(),), pin())


@cache
def good_payloads() -> frozenset[bytes]:
    """Everything that a key of this vendor has ever signed here."""
    said = [bundle_payload(one.bundle, "fuzz") for one in vendor().head().signatures]
    return frozenset([*said, encode_root(vendor().root()), *(payload for _, payload, _ in sealed())])


@cache
def sealed() -> tuple[tuple[str, bytes, bytes], ...]:
    """(type, payload, envelope) of one good document of each kind."""
    site = Enrolment(
        site="a/small/production/b",
        key=KEY.public,
        key_epoch=1,
        root=pin(),
        channel="stable",
        report_every_seconds=0,
        created_at="2026-01-02T03:04:05Z",
    )
    note = Consignment(
        vendor="small-works",
        site="a/small/production/b",
        site_key=KEY.public.keyid,
        number=1,
        issued_at="2026-01-02T03:04:05Z",
        challenge="00" * 32,
    )
    gone = Revocations(vendor="small-works", version=1)
    said = Approval(plan=digest_of(b"plan"), verdict="approve", keyid=KEY.public.keyid, role="operator")
    return (
        (ENROLMENT_TYPE, encode(site), sign_enrolment(site, KEY)),
        (CONSIGNMENT_TYPE, encode(note), sign_consignment(note, (CONSIGNMENT,))),
        (REVOCATIONS_TYPE, encode(gone), seal(encode(gone), REVOCATIONS_TYPE, (ROOT,))),
        (APPROVAL_TYPE, encode(said), sign_approval(said, KEY)),
        (ROOT_TYPE, encode_root(vendor().root()), vendor().root_file()),
        (AUTHORISATION_TYPE, encode(permit()), seal(encode(permit()), AUTHORISATION_TYPE, (ROLLBACK,))),
        (REQUEST_TYPE, encode(review_request()), sign_request(review_request(), KEY)),
    )


def permit() -> Authorisation:
    low, high = Mark(epoch=1, sequence=1), Mark(epoch=1, sequence=2)
    return Authorisation(
        vendor="small-works",
        number=1,
        product="small",
        sites=("a/small/production/b",),
        leaves=Left(channel="stable", mark=high),
        goes_to=Reached(release=digest_of(b"anything"), version="1.0.0", channel="stable", mark=low),
        why="a fault",
        loses="nothing",
        reopens=("CVE-2026-0001",),
        issued_at="2026-01-02T03:04:05Z",
    )


def review_request() -> ReviewRequest:
    digest = digest_of(b"anything")
    plan = Plan(
        site="a/small/production/b",
        site_key=KEY.public.keyid,
        action="policy",
        last_change=digest,
        policy=digest,
        subject=digest,
        kinds=("policy",),
    )
    blob = Blob(digest=digest, size=8)
    return ReviewRequest(
        items=("policy",),
        plan=plan,
        then="install policy",
        key=KEY.public,
        made_at="2026-01-02T03:04:05Z",
        root=pin(),
        policy=blob,
        proposed=blob,
    )


@cache
def policy() -> Policy:
    """One operator, whose key is the vendor's: it has signed an approval, and nothing else for this policy."""
    rules = "\n".join(f"  {kind}: {{operator: 1}}" for kind in KINDS)
    text = f"""\
waybill: 1
policy: 1
people:
  ops-1: {{role: operator, keys: [ops.pub]}}
rules:
{rules}
veto: []
proposer_counts: true
confirm: {{by: probes, or_person: operator}}
time: warn
windows: {{enforce: false, times: ["sat 22:00-04:00 UTC"]}}
refuse: {{everyone_audience: true, unsigned_images: false}}
"""
    return compile_policy(parse_handwritten(text.encode(), "policy.yaml"), lambda _: KEY.public)


def any_envelope(data: bytes) -> None:
    kind, _, _ = sealed()[data[0] % len(sealed()) if data else 0]
    envelope = parse_envelope(data[1:], kind, "fuzz", max_bytes=MAX)
    assert add_signatures(envelope, ()) == data[1:]


def root_chain(data: bytes) -> None:
    parse_root(data, "fuzz")
    assert verify_chain((data,), pin()).pin == pin()


def statement(data: bytes) -> None:
    assert verify_statement(data, KEY.public, "fuzz") in good_payloads()


def report(data: bytes) -> None:
    verify_report(data, KEY.public, "fuzz")
    raise AssertionError("nobody has signed a report with this key")


def enrolment(data: bytes) -> None:
    verify_enrolment(data, "fuzz")


def consignment(data: bytes) -> None:
    assert encode(verify_consignment(data, chain(), "fuzz").consignment) in good_payloads()


def approval(data: bytes) -> None:
    assert encode(verify_approval(data, policy(), "fuzz").approval) in good_payloads()


def authorisation(data: bytes) -> None:
    assert encode(verify_authorisation(data, chain(), "fuzz").authorisation) in good_payloads()


def request(data: bytes) -> None:
    assert encode(verify_request(data, "fuzz").request) in good_payloads()


def answer(data: bytes) -> None:
    assert encode(parse_answer(data, "fuzz")[0]) == data


def revocations(data: bytes) -> None:
    found = verify_revocations(data, chain(), "fuzz")
    # The vectors' root key signs lists of their own as well, so what is read need not be the one of the corpus.
    assert encode(found) == decode(data, Envelope, "fuzz").payload_bytes
    assert found.vendor == chain().newest.vendor


def bundle_of_others(data: bytes) -> None:
    opened = parse_sigstore_bundle(data)
    assert opened.is_envelope or opened.digest is not None


def base64_text(data: bytes) -> None:
    text = data.decode("latin-1")
    assert encode_base64(decode_base64(text, "fuzz")) == text


def signature(data: bytes) -> None:
    KEY.public.verify(data, b"a message that nobody has signed", "fuzz")
    raise AssertionError("a signature that nobody has made")


# --- what a site keeps of its collectors ------------------------------------------------------------------------------

# A series, a line and a span that the signals below count.
SOURCES = (
    b'# TYPE x_seconds histogram\nx_seconds_bucket{le="0.5",route="in"} 3\nx_seconds_bucket{le="+Inf",route="in"} 4\n'
    b'x_seconds_sum{route="in"} 2.5\nx_seconds_count{route="in"} 4\n',
    b"# TYPE depth gauge\ndepth 7\n",
    b"code=E1\ncode=E2\n",
    b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"sign","startTimeUnixNano":"0",'
    b'"endTimeUnixNano":"12000000"}]}]}]}\n',
)


@cache
def counted_signals() -> tuple[Signal, ...]:
    return (
        metrics("x_seconds", "count", "sum", "p99", unit="ms", route=("in",)),
        metrics("depth", "min", "max", "last", "mean"),
        logs(E1="code=E1", E2="code=E2"),
        traces("count", "errors", "p99", "max"),
    )


def damaged_file(data: bytes) -> None:
    """The file of a signal as it lies on the disk: what is read was written whole."""
    assert kept_bytes(parse_kept(data, "fuzz")) == data


def resumed(index: int) -> Reader:
    """A state that comes with a good digest: it is refused when it is opened, and never while it is used."""

    def check(state: bytes) -> None:
        signal = counted_signals()[index]
        collector = open_collector(signal, state)
        before = collector.matched()
        try:
            for at in (NOON, NOON + HOUR):
                collector.begin(at, None)
                collector.feed(SOURCES[index])
                collector.end()
            collector.clear(NOON - HOUR)
            assert collector.current_rows() or before or collector.matched()
            collector.current_until()
            collector.state()
        except WaybillError as error:
            raise AssertionError("a state was refused only when it was used") from error

    return check


TARGETS: dict[str, tuple[Reader, ...]] = {
    "kept": (damaged_file, *(resumed(index) for index in range(len(SOURCES)))),
    "archive": (whole_head, headers, bulk_by_file, bulk_by_pipe),
    "document": (
        canonical(parse_release),
        root_payload,
        canonical(parse_contract),
        canonical(parse_rollback),
        canonical(parse_policy),
        canonical(parse_plan),
        of_type(Statement[Predicate]),
        of_type(ReportStatement),
        of_type(Revocations),
        of_type(Consignment),
        of_type(Enrolment),
        of_type(Approval),
        lambda data: parse_oci(data, media_type=OCI_MANIFEST),
        lambda data: parse_oci(data, media_type=OCI_INDEX),
        read_json,
        lambda data: parse_handwritten(data, "fuzz"),
        lambda data: read_sbom(data, "fuzz"),
        lambda data: check_openvex(data, "fuzz"),
        lambda data: unpack_report(data, "fuzz"),
        armour,
        spoken,
        of_type(ReviewRequest),
        of_type(Rotation),
        answer,
        of_type(Authorisation),
        lambda data: read_attested_sbom(data, "fuzz"),
        canonical(parse_handler_use),
        canonical(parse_handler_result),
        of_type(Handler),
    ),
    "envelope": (
        any_envelope,
        root_chain,
        statement,
        report,
        enrolment,
        consignment,
        approval,
        revocations,
        bundle_of_others,
        base64_text,
        signature,
        request,
        authorisation,
    ),
}


def run(target: str, data: bytes) -> None:
    """One input. Returns when it was read or refused; anything else that is raised is a finding."""
    readers = TARGETS[target]
    if not data:
        return
    try:
        readers[data[0] % len(readers)](data[1:])
    except WaybillError:
        return
