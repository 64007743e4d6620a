"""waybill verify"""

import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from console.clock import utc_now
from console.options import command, path_option
from console.progress import progress
from console.result import Result
from content.bundle.head import open_head
from manifests.words.errors import RefusedError, UntrustedError, UsageError, WaybillError, missing_file
from manifests.words.text import one_line
from verifier.commands.trust_options import NamedTrust, find_trust, name_other_trust, with_trust
from verifier.trust.anchor import TrustAnchor
from verifier.trust.bundle import VerifiedBundle, VerifyRequest, verify_path, verify_pipe
from verifier.trust.findings import Finding, most_severe, refusal

if TYPE_CHECKING:
    from verifier.site.folder import Site


@command(
    examples=(
        "waybill verify app-1.0.0.tar --fingerprint 'WORDS FROM THE PAPER'",
        "waybill verify app-1.0.0.tar --site /var/lib/waybill/east",
        "waybill verify report.json --enrolment enrolment.json",
    )
)
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@with_trust
@path_option("--head", "head_file", help="File with the head, if it is not the one in the bundle.")
def verify_command(
    files: tuple[str, ...],
    root: Path | None,
    fingerprint: str | None,
    site: Path | None,
    enrolment: Path | None,
    head_file: Path | None,
) -> Result:
    """Check that each bundle FILE is trusted, meant for here, and whole; - reads a pipe. Nothing is remembered.

    Trust is decided on the first bytes; a wrong bundle of any size is refused at once. With --site, FILE may be
    a delta: what the site holds counts, as in receive. FILE may also be a signed document: root, revocation list,
    authorisation, consignment, receipt, enrolment, report, request, answer.
    """
    trust = NamedTrust()
    if enrolment is None or any((root, fingerprint, site)):
        trust = find_trust(root, fingerprint, site)
    if trust.anchor is None and enrolment is None:
        for file in files:
            if file != "-" and not Path(file).exists():
                raise missing_file(file)
        raise UsageError(
            "no trust was named",
            where="trust",
            remedy=_name_trust(files),
        )
    if head_file is not None and len(files) > 1:
        raise UsageError("--head belongs to one bundle", where="--head")
    results = [_verify_one(file, trust, enrolment, head_file) for file in files]
    error = most_severe(result.error for result in results)
    texts = [
        _without_problem(result.text, error) if error is not None and result.error is error else result.text
        for result in results
    ]
    text = "\n\n".join(texts)
    data = results[0].data if len(results) == 1 else {"files": [result.data for result in results]}
    return Result(text, data, error)


def _name_trust(files: tuple[str, ...]) -> str:
    return f'waybill verify {shlex.join(files)} --fingerprint "WORDS", with the words of the vendor\'s paper'


def _without_problem(text: str, error: WaybillError) -> str:
    """Return the text of one file without the problem of ``error``, which is printed in full after all texts."""
    if error.exit_code in _NOT_JUDGED:
        return text.removesuffix(f": {error.problem}")
    return text.replace(Finding(error.finding, "refused", error.problem).line(), f"refused  {error.finding}", 1)


def _verify_one(file: str, trust: NamedTrust, enrolment: Path | None, head_file: Path | None) -> Result:
    try:
        if is_document(file):
            if head_file is not None:
                raise UsageError("belongs to a bundle", where="--head", remedy=f"waybill verify {file}, without it")
            return _verify_document(file, trust, enrolment)
        if trust.anchor is None:
            raise UsageError(
                "an enrolment proves the signatures of a site, not those of a bundle",
                where=file,
                remedy=_name_trust((file,)),
            )
        bundle = _verify_file(file, trust.anchor, trust.site, head_file)
    except (WaybillError, FileNotFoundError) as wrong:
        error = wrong if isinstance(wrong, WaybillError) else missing_file(file)
        if error.finding == "not-a-file":
            stream = f"a bundle may come as a stream, with the same options: waybill verify - < {shlex.quote(file)}"
            error = error.with_(remedy=f"{error.remedy}; {stream}")
        if error.exit_code in _NOT_JUDGED:
            text = f"verdict: not judged: {file}: {error.problem}"
            return Result(text, {"file": file, "verdict": "not judged", "findings": []}, error)
        return _refused(file, error, trust)
    return verdict_of(file, bundle, trust)


def _refused(file: str, error: WaybillError, trust: NamedTrust, kind: str = "") -> Result:
    error = _with_site(file, trust.advise(error), trust, kind)
    finding = Finding(error.finding, "refused", error.problem, error)
    data = {"file": file, "verdict": "refused", "findings": [_finding(finding)]}
    site = trust.guessed_by(error)
    verdict = _verdict(error) if site is None else f"not verified by the site {site.path}:"
    return Result(f"verdict: {verdict} {file}\n{finding.line()}", data, error)


def _with_site(file: str, error: WaybillError, trust: NamedTrust, kind: str = "") -> WaybillError:
    """Return ``error`` with the guessed site that judged, and how to name other trust."""
    site = trust.guessed_by(error)
    if site is None:
        return error
    judged = f"the site {site.path} judged, because no trust was named; by other trust: "
    return error.with_(remedy=f"{error.remedy}; {judged}{name_other_trust('verify', file, kind)}")


def is_document(file: str) -> bool:
    """Whether the file is JSON; a bundle never begins with a brace. A pipe is read as a bundle."""
    path = Path(file)
    if file == "-" or not path.is_file():
        return False
    with path.open("rb") as opened:
        return opened.read(1) == b"{"


def _verify_document(file: str, trust: NamedTrust, enrolment: Path | None) -> Result:
    # Imported here: verifying a bundle loads no other document's code (docs/audit.md lists what is loaded).
    from verifier.documents.registry import document_data, judge_document, read_document
    from verifier.documents.values import DocumentJudge

    data, document = read_document(Path(file))
    try:
        signed = judge_document(Path(file), data, document, DocumentJudge(trust.anchor, trust.site, enrolment))
    except (UntrustedError, RefusedError) as error:
        return _refused(file, error, trust, document.kind)
    finding = Finding("signatures", "ok", signed.by)
    practice = ", practice" if signed.practice else ""
    lines = [
        f"verdict: verified {document.kind}, {one_line(document.title)}{practice} ({document.digest})",
        finding.line(),
    ]
    facts = document_data(document)
    return Result(
        "\n".join(lines),
        {
            "file": file,
            "verdict": "verified",
            "practice": signed.practice,
            "signers": list(signed.signers),
            "findings": [_finding(finding)],
            **{name: value for name, value in facts.items() if name != "document"},
        },
    )


def _verify_file(file: str, anchor: TrustAnchor, site: "Site | None", head_file: Path | None) -> VerifiedBundle:
    head = open_head(head_file) if head_file else None  # F-3.15
    path = None if file == "-" else Path(file)
    name, size = (path.name, path.stat().st_size) if path else ("", 0)
    with progress(f"verifying {name}".rstrip(), size) as bar:
        request = VerifyRequest(anchor, utc_now(), bar.advance)
        if site is not None:
            # Only a site that judges loads the reader of its store: docs/audit.md lists what is loaded.
            from verifier.site.judging import site_request

            request = site_request(site, bar.advance)
        request = replace(request, head=head)
        if path is not None:
            return verify_path(path, request)
        with os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=0) as stream:
            return verify_pipe(stream, request)


_VERDICTS = {3: "malformed", 4: "untrusted", 5: "refused", 7: "damaged or incomplete", 8: "too new"}
# Wrong usage and a failure of the host: the file was not judged.
_NOT_JUDGED = (2, 6)


def _verdict(error: WaybillError) -> str:
    return _VERDICTS.get(error.exit_code, "refused")


def _finding(finding: Finding) -> dict[str, str]:
    return {"id": finding.id, "level": finding.level, "text": finding.text}


def verdict_of(file: str, bundle: VerifiedBundle, trust: NamedTrust) -> Result:
    """The verdict, then one line for each finding."""
    release = bundle.head.release
    error = refusal(bundle.findings)
    name = f"{release.product} {release.version}"
    if error is not None:
        error = _with_site(file, error, trust)
        verdict = f"{_verdict(error)} {name}"
    else:
        practice = ", practice" if bundle.head.practice else ""
        verdict = f"verified {name}, {bundle.end}{practice}"
    lines = [f"verdict: {verdict} ({bundle.head.release_digest})", *(one.line() for one in bundle.findings)]
    data = {
        "file": file,
        "verdict": "refused" if error else "verified",
        "practice": bundle.head.practice,
        "product": release.product,
        "version": release.version,
        "channel": release.channel,
        "sequence": release.sequence,
        "release": bundle.head.release_digest,
        "vendor": bundle.head.chain.newest.vendor,
        "root_version": bundle.head.chain.newest.version,
        "signers": list(bundle.head.signers),
        "end": bundle.end,
        "missing": [blob.digest for blob in bundle.missing][:1000],
        "findings": [_finding(one) for one in bundle.findings],
    }
    return Result("\n".join(lines), data, error)
