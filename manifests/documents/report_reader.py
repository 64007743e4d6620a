"""Parse, verify and check a report."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import msgspec

from manifests.documents.report import (
    MAX_CORE,
    MAX_REPORT,
    REPORT_TYPE,
    ChainLink,
    Report,
    ReportedOffboarding,
    ReportStatement,
)
from manifests.trust.envelope import Statement, bundle_payload, verify_statement
from manifests.trust.keys import PublicKey
from manifests.trust.rotation import check_succession
from manifests.words.canonical import decode, parse
from manifests.words.digest import digest_of
from manifests.words.errors import MalformedError, NewerError


@dataclass(frozen=True)
class SignedReport:
    """A report whose signature by the site's key was verified.

    Attributes:
        raw: The file as received; ``digest`` over it is what the next report names.
        subject: Digest of the installed release, or of the site's enrolment.
    """

    raw: bytes
    digest: str
    subject: str
    report: Report


class _AnyType(msgspec.Struct, frozen=True):
    """Just enough of a Statement to tell a newer report from a broken one."""

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
    said = _parse_statement(payload, what)
    check_report(said.predicate, what)
    succession = said.predicate.identity.succession
    if succession and succession[-1].rotation.key != key:  # D-2.6
        raise MalformedError("its succession leads to another key", where=f"{what} $.predicate.identity.succession")
    installed = said.predicate.install.release
    subject = said.subject[0]
    wanted = "enrolment.json" if installed is None else "release.json"
    digest = "sha256:" + subject.digest.sha256
    if subject.name != wanted or (installed is not None and digest != installed.digest):  # D-2.4
        raise MalformedError("its subject is not what the report says is installed", where=f"{what} $.subject")
    return SignedReport(raw=data, digest=digest_of(data), subject=digest, report=said.predicate)


def _parse_statement(payload: bytes, what: str) -> Statement[Report]:
    try:
        said = parse(payload, ReportStatement, what, max_bytes=MAX_CORE)
    except MalformedError:
        kind = decode(payload, _AnyType, what).predicate_type
        if kind != REPORT_TYPE and kind.startswith("urn:waybill:report:"):  # D-2.3
            raise _newer(kind, what) from None
        raise
    if said.predicate_type != REPORT_TYPE:
        if said.predicate_type.startswith("urn:waybill:report:"):
            raise _newer(said.predicate_type, what)
        raise MalformedError(f"a statement of type {said.predicate_type!r}, expected {REPORT_TYPE}", where=what)
    return said


def peek_report(data: bytes, what: str = "report") -> Report:
    """What a report file claims, unverified: good for finding whose it is, and for showing that it was not verified.

    Raises:
        MalformedError: Not a report in our form.
        NewerError: A report of a later kind than this program knows.
    """
    if len(data) > MAX_REPORT:
        raise MalformedError(f"{len(data)} bytes, at most {MAX_REPORT} are allowed", where=what)
    said = _parse_statement(bundle_payload(data, what), what).predicate
    check_report(said, what)
    return said


def _newer(kind: str, what: str) -> NewerError:
    return NewerError(
        f"a report of the later kind {kind!r}, this program reads {REPORT_TYPE}",
        where=what,
        remedy="its bytes are kept; import it again after an upgrade",
        finding="report-newer",
    )


def check_report(report: Report, what: str) -> None:
    """Every rule that ties one part of a report to another.

    Raises:
        MalformedError: It contradicts itself.
    """

    def refuse(problem: str, place: str) -> MalformedError:
        return MalformedError(problem, where=f"{what} $.predicate.{place}", finding="report-contradiction")

    _check_chain(report.chain, refuse)  # D-2.5
    _check_identity(report, refuse)  # D-2.6
    _check_offboarding(report.trust.offboarding, refuse)  # D-2.7
    install = report.install
    if (install.state == "none") != (install.release is None):  # D-2.8
        raise refuse(f"state is {install.state!r}, which does not agree with `release`", "install.state")
    if install.revoked and install.release is None:  # D-2.8
        raise refuse("nothing is installed, and it is revoked", "install.revoked")
    if install.below_floor and install.release is None:  # D-2.8
        raise refuse("nothing is installed, and it is below the floor", "install.below_floor")
    numbers = [one.number for one in install.generations]
    if numbers != sorted(set(numbers)):
        raise refuse("generations are not in order, each once", "install.generations")
    if install.release is not None:
        named = {one.number: one.release for one in install.generations}
        if named.get(install.release.generation) != install.release.digest:
            raise refuse("the current generation is not among the generations", "install.release")
    elif report.components.listed or report.components.more_same or report.components.more_other:
        raise refuse("components without a release", "components")
    keys = [(one.kind, one.name, one.step) for one in report.components.listed]
    if keys != sorted(set(keys)):
        raise refuse("components are not sorted by kind, name and step, each once", "components.listed")
    for i, one in enumerate(report.components.listed):
        if (one.found == "differs") != (one.observed is not None) or one.observed == one.expected:
            raise refuse("`observed` is given exactly when it differs", f"components.listed[{i}]")
    for i, item in enumerate(report.waiting):
        if item.since_seq > report.chain.seq:
            raise refuse(f"waits since report {item.since_seq}, this is {report.chain.seq}", f"waiting[{i}].since_seq")
    for name, names in (
        ("waiting", [one.item for one in report.waiting]),
        ("health", [one.probe for one in report.health]),
    ):
        if len(set(names)) != len(names):
            raise refuse("a name is given twice", name)


def _check_identity(report: Report, refuse: Callable[[str, str], MalformedError]) -> None:
    """A succession is one unbroken run of this site that leads to the key epoch that speaks."""
    identity = report.identity
    check_succession(identity.succession, "report $.predicate.identity.succession")
    if not identity.succession:
        return
    last = identity.succession[-1].rotation
    if (last.site, last.key_epoch) != (identity.site, identity.key_epoch) or last.after_seq >= report.chain.seq:
        raise refuse("does not lead to the key that speaks", "identity.succession")


def _check_offboarding(said: ReportedOffboarding | None, refuse: Callable[[str, str], MalformedError]) -> None:
    if said is None:
        return
    kinds = [one.kind for one in said.probes]
    if kinds != sorted(kinds):
        raise refuse("not sorted by kind", "trust.offboarding.probes")
    for one in said.probes:
        if (one.artefact is None) != (one.outcome == "unproven") or (one.outcome == "refused") != bool(one.finding):
            raise refuse("an outcome without what was tried, or without why", "trust.offboarding.probes")
    if not said.removed and (said.probes or said.final):
        raise refuse("tried or final before the trust was removed", "trust.offboarding")
    if said.key == "destroyed" and not (said.final and said.reason == "retired"):
        raise refuse("only a site that retires destroys its key, at the end", "trust.offboarding.key")


def _check_chain(chain: ChainLink, refuse: Callable[[str, str], MalformedError]) -> None:
    """What the report says of earlier ones is one unbroken run that ends just before it."""
    last: tuple[int, str] | None = None
    if chain.acknowledged is not None:
        last = (chain.acknowledged.seq, chain.acknowledged.digest)
    if chain.omitted is not None:
        if chain.omitted.first > chain.omitted.last or chain.omitted.first != (last[0] + 1 if last else 1):
            raise refuse("does not begin after the acknowledged report", "chain.omitted")
        last = (chain.omitted.last, chain.omitted.digest)
    if chain.earlier and chain.earlier[0].seq != (last[0] + 1 if last else 1):
        raise refuse("does not begin after the acknowledged report", "chain.earlier")
    for before, after in pairwise(chain.earlier):
        if after.seq != before.seq + 1:
            raise refuse(f"report {after.seq} follows report {before.seq}", "chain.earlier")
    if chain.earlier:
        last = (chain.earlier[-1].seq, chain.earlier[-1].digest)
    if (last[0] if last else 0) != chain.seq - 1:
        raise refuse(f"the reports before number {chain.seq} are not all accounted for", "chain")
    if last is not None and last[1] != chain.previous:
        raise refuse("`previous` is another file than the last one in the summary", "chain.previous")
