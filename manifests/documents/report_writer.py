"""Encode and sign a report."""

from manifests.documents.report import MAX_CORE, REPORT_TYPE, Report
from manifests.documents.report_reader import check_report
from manifests.trust.envelope import Statement, statement
from manifests.trust.envelope_writer import sign_statement
from manifests.trust.private_keys import Signer
from manifests.words.canonical import encode
from manifests.words.errors import MalformedError


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
    """The report file.

    Raises:
        MalformedError: The report contradicts itself or is longer than 64 KiB.
    """
    core = encode_report(report, enrolment)
    if len(core) > MAX_CORE:
        raise MalformedError(f"{len(core)} bytes, at most {MAX_CORE} are allowed", where="report")
    return sign_statement(report_statement(report, enrolment), signer)
