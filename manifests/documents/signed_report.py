"""Sign, read, verify and check a report, and list the components that it must cover."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import msgspec

from manifests.documents.release import Release
from manifests.documents.report import (
    MAX_CORE,
    MAX_REPORT,
    REPORT_TYPE,
    ChainLink,
    ComponentKind,
    Level,
    Report,
    ReportedOffboarding,
    ReportStatement,
)
from manifests.trust.envelope import Statement, bundle_payload, statement, verify_statement
from manifests.trust.envelope_writer import sign_statement
from manifests.trust.keys import PublicKey
from manifests.trust.private_keys import Signer
from manifests.trust.rotation import check_succession
from manifests.words.canonical import decode, encode, parse
from manifests.words.digest import digest_of
from manifests.words.errors import MalformedError, NewerError

_OWN_USE = re.compile(r"h-[1-9][0-9]{0,15}")


@dataclass(frozen=True)
class SignedReport:
    """A report whose signature by the site's key was verified.

    Attributes:
        digest: Over ``raw``, the file; the next report names it.
        subject: Digest of the installed release, or of the site's enrolment.
    """

    raw: bytes
    digest: str
    subject: str
    report: Report


class _AnyType(msgspec.Struct, frozen=True):
    """The one field of a Statement that tells a newer report from a broken one."""

    predicate_type: str = msgspec.field(name="predicateType")


def verify_report(data: bytes, key: PublicKey, what: str = "report") -> SignedReport:
    """Verify that ``key`` signed the report, then read it.

    Raises:
        MalformedError: Not a report in our form.
        NewerError: A report of a later kind than this program knows.
        UntrustedError: The signature does not match.
    """
    if len(data) > MAX_REPORT:
        raise MalformedError(f"{len(data)} bytes, at most {MAX_REPORT} are allowed", where=what)
    payload = verify_statement(data, key, what)  # D-2.2
    if len(payload) > MAX_CORE:  # D-2.1
        raise MalformedError(f"{len(payload)} bytes, at most {MAX_CORE} are allowed", where=what)
    statement = _parse_statement(payload, what)
    check_report(statement.predicate, what)
    succession = statement.predicate.identity.succession
    if succession and succession[-1].rotation.key != key:  # D-2.6
        problem = "the succession of keys leads to another key"
        raise MalformedError(problem, where=f"{what} $.predicate.identity.succession")
    installed = statement.predicate.install.release
    subject = statement.subject[0]
    wanted = "enrolment.json" if installed is None else "release.json"
    digest = "sha256:" + subject.digest.sha256
    if subject.name != wanted or (installed is not None and digest != installed.digest):  # D-2.4
        problem = "the subject is not the release that the report calls installed"
        raise MalformedError(problem, where=f"{what} $.subject")
    return SignedReport(raw=data, digest=digest_of(data), subject=digest, report=statement.predicate)


def _parse_statement(payload: bytes, what: str) -> Statement[Report]:
    try:
        statement = parse(payload, ReportStatement, what, max_bytes=MAX_CORE)
    except MalformedError:
        kind = decode(payload, _AnyType, what).predicate_type
        if kind != REPORT_TYPE and kind.startswith("urn:waybill:report:"):  # D-2.3
            raise _newer(kind, what) from None
        raise
    if statement.predicate_type != REPORT_TYPE:
        if statement.predicate_type.startswith("urn:waybill:report:"):
            raise _newer(statement.predicate_type, what)
        problem = f"the statement is of type {statement.predicate_type!r}, expected {REPORT_TYPE}"
        raise MalformedError(problem, where=what)
    return statement


def peek_report(data: bytes, what: str = "report") -> Report:
    """Return what a report file claims, unverified: to find its site, or to show it as not verified.

    Raises:
        MalformedError: Not a report in our form.
        NewerError: A report of a later kind than this program knows.
    """
    if len(data) > MAX_REPORT:
        raise MalformedError(f"{len(data)} bytes, at most {MAX_REPORT} are allowed", where=what)
    report = _parse_statement(bundle_payload(data, what), what).predicate
    check_report(report, what)
    return report


def _newer(kind: str, what: str) -> NewerError:
    problem = f"the report is of the later kind {kind!r}, this program reads {REPORT_TYPE}"
    remedy = "upgrade waybill, then import the report again; its bytes are kept"
    return NewerError(problem, where=what, remedy=remedy, finding="report-newer")


def check_report(report: Report, what: str) -> None:
    """Check every rule that ties one part of a report to another. Raises MalformedError where one does not hold."""

    def refuse(problem: str, place: str) -> MalformedError:
        return MalformedError(problem, where=f"{what} $.predicate.{place}", finding="report-contradiction")

    _check_chain(report.chain, refuse)  # D-2.5
    _check_identity(report, refuse)  # D-2.6
    _check_offboarding(report.trust.offboarding, refuse)  # D-2.7
    install = report.install
    if (install.state == "none") != (install.release is None):  # D-2.8
        raise refuse(f"state is {install.state!r}, which does not agree with `release`", "install.state")
    if install.revoked and install.release is None:  # D-2.8
        raise refuse("`revoked` is set although nothing is installed", "install.revoked")
    if install.below_floor and install.release is None:  # D-2.8
        raise refuse("`below_floor` is set although nothing is installed", "install.below_floor")
    numbers = [one.number for one in install.generations]
    if numbers != sorted(set(numbers)):
        raise refuse("generations are not sorted with each once", "install.generations")
    if install.release is not None:
        named = {one.number: one.release for one in install.generations}
        if named.get(install.release.generation) != install.release.digest:
            raise refuse("the current generation is not among the generations", "install.release")
    elif report.components.listed or report.components.more_same or report.components.more_other:
        raise refuse("components are listed although no release is installed", "components")
    keys = [(one.kind, one.name, one.step) for one in report.components.listed]
    if keys != sorted(set(keys)):
        raise refuse("components are not sorted by kind, name and step with each once", "components.listed")
    for i, component in enumerate(report.components.listed):
        if (component.found == "differs") != (
            component.observed is not None
        ) or component.observed == component.expected:
            raise refuse("`observed` must be given exactly when it differs from `expected`", f"components.listed[{i}]")
    for i, item in enumerate(report.waiting):
        if item.since_seq > report.chain.seq:
            raise refuse(
                f"the item waits since report {item.since_seq}, which is later than this report, {report.chain.seq}",
                f"waiting[{i}].since_seq",
            )
    _check_health(report, refuse)  # D-2.9
    _check_certificates(report, refuse)  # D-2.10
    _check_own_uses(report, refuse)  # D-2.8
    for name, names in (
        ("waiting", [one.item for one in report.waiting]),
        ("health", [one.probe for one in report.health]),
    ):
        if len(set(names)) != len(names):
            raise refuse("two entries have one name", name)


def _check_own_uses(report: Report, refuse: Callable[[str, str], MalformedError]) -> None:
    """Check that a result without a consignment is of an item `h-NUMBER`, each once."""
    own = [result.request for result in report.requests if result.consignment is None]
    if any(_OWN_USE.fullmatch(item) is None for item in own) or len(set(own)) != len(own):
        raise refuse("a result without a consignment names no use of the site's own people, or one twice", "requests")


def _check_health(report: Report, refuse: Callable[[str, str], MalformedError]) -> None:
    """Check that every result is of the generation that runs, with its time exactly when somebody looked."""
    running = report.install.release.generation if report.install.release else None
    for i, health in enumerate(report.health):
        if health.generation != running:
            problem = f"a probe was measured on generation {health.generation}, {running or 'nothing'} runs"
            raise refuse(problem, f"health[{i}]")
        if health.recent and health.measured == "now" and health.recent[-1] != health.state[0]:
            raise refuse("`recent` does not end with the result that was measured now", f"health[{i}]")
        observed = health.state != "not-observed"
        if (health.measured is not None, health.at is not None) != (observed, observed):
            raise refuse("`measured` and `at` must be given exactly when the probe was observed", f"health[{i}]")


def _check_certificates(report: Report, refuse: Callable[[str, str], MalformedError]) -> None:
    """Check that every endpoint is named once, and has the days exactly when its certificate is good."""
    certificates = report.verifier.certificates
    endpoints = [certificate.endpoint for certificate in certificates]
    if endpoints != sorted(set(endpoints)):
        raise refuse("certificates are not sorted by endpoint with each once", "verifier.certificates")
    for i, certificate in enumerate(certificates):
        if (certificate.verdict == "good") != (certificate.days is not None):
            raise refuse("`days` must be given exactly when the certificate is good", f"verifier.certificates[{i}]")


def _check_identity(report: Report, refuse: Callable[[str, str], MalformedError]) -> None:
    """Check that the succession is one unbroken run of this site that leads to the key epoch that signed."""
    identity = report.identity
    check_succession(identity.succession, "report $.predicate.identity.succession")
    if not identity.succession:
        return
    last = identity.succession[-1].rotation
    if (last.site, last.key_epoch) != (identity.site, identity.key_epoch) or last.after_seq >= report.chain.seq:
        raise refuse("the succession does not lead to the key that signed", "identity.succession")


def _check_offboarding(offboarding: ReportedOffboarding | None, refuse: Callable[[str, str], MalformedError]) -> None:
    if offboarding is None:
        return
    kinds = [one.kind for one in offboarding.probes]
    if kinds != sorted(kinds):
        raise refuse("probes are not sorted by kind", "trust.offboarding.probes")
    for probe in offboarding.probes:
        if (probe.artefact is None) != (probe.outcome == "unproven") or (probe.outcome == "refused") != bool(
            probe.finding
        ):
            raise refuse(
                "a probe lacks the artefact that was tried, or the finding of a refusal", "trust.offboarding.probes"
            )
    if not offboarding.removed and (offboarding.probes or offboarding.final):
        raise refuse("probes or `final` are given before the trust was removed", "trust.offboarding")
    if offboarding.key == "destroyed" and not (offboarding.final and offboarding.reason == "retired"):
        raise refuse("only a site that retires destroys its key, in its final report", "trust.offboarding.key")


def _check_chain(chain: ChainLink, refuse: Callable[[str, str], MalformedError]) -> None:
    """Check that the summary of earlier reports is one unbroken run that ends just before this one."""
    last: tuple[int, str] | None = None
    if chain.acknowledged is not None:
        last = (chain.acknowledged.seq, chain.acknowledged.digest)
    if chain.omitted is not None:
        if chain.omitted.first > chain.omitted.last or chain.omitted.first != (last[0] + 1 if last else 1):
            raise refuse("the summary does not begin after the acknowledged report", "chain.omitted")
        last = (chain.omitted.last, chain.omitted.digest)
    if chain.earlier and chain.earlier[0].seq != (last[0] + 1 if last else 1):
        raise refuse("the summary does not begin after the acknowledged report", "chain.earlier")
    for before, after in pairwise(chain.earlier):
        if after.seq != before.seq + 1:
            raise refuse(f"report {after.seq} follows report {before.seq}", "chain.earlier")
    if chain.earlier:
        last = (chain.earlier[-1].seq, chain.earlier[-1].digest)
    if (last[0] if last else 0) != chain.seq - 1:
        raise refuse(f"the reports before number {chain.seq} are not all accounted for", "chain")
    if last is not None and last[1] != chain.previous:
        raise refuse("`previous` is not the digest of the last report in the summary", "chain.previous")


def report_statement(report: Report, enrolment: str) -> Statement[Report]:
    """The Statement about the installed release, or about the ``enrolment`` (its digest) when nothing is installed."""
    installed = report.install.release
    if installed is None:
        return statement(report, REPORT_TYPE, name="enrolment.json", digest=enrolment)
    return statement(report, REPORT_TYPE, name="release.json", digest=installed.digest)


def encode_report(report: Report, enrolment: str) -> bytes:
    """The exact bytes that are signed; also what `report --preview` shows."""
    check_report(report, "report")
    return encode(report_statement(report, enrolment))


def sign_report(report: Report, enrolment: str, signer: Signer) -> bytes:
    """The report file. Raises MalformedError when the report contradicts itself or is longer than 64 KiB."""
    core = encode_report(report, enrolment)
    if len(core) > MAX_CORE:
        raise MalformedError(f"{len(core)} bytes, at most {MAX_CORE} are allowed", where="report")
    return sign_statement(report_statement(report, enrolment), signer)


@dataclass(frozen=True, order=True)
class Expected:
    """One component that an install step of a release brings; ``wanted`` is ``running`` where it keeps a process up."""

    kind: ComponentKind
    name: str
    step: str
    digest: str
    wanted: Level = "placed"


def expected_components(release: Release) -> tuple[Expected, ...]:
    """What a report about ``release`` must cover, sorted by kind, name and step.

    A file set has no bytes of its own; its digest is over its canonical list of paths, digests and sizes.
    """
    images = {one.name: one.manifest.digest for one in release.images}
    files = {one.name: digest_of(encode(one)) for one in release.files}
    charts = {one.name: one.digest for one in release.charts}
    expected = []
    for step in release.install:
        expected += [Expected("image", name, step.step, images[name]) for name in step.images]
        wanted: Level = "placed" if step.keep_running is None else "running"
        expected += [Expected("files", name, step.step, files[name], wanted) for name in step.files]
        if step.chart is not None:
            expected.append(Expected("chart", step.chart, step.step, charts[step.chart]))
    return tuple(sorted(expected))
