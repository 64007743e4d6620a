"""The command line of looking: `verify`, `show`, `compare`. Needs no site, and writes nothing."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from content.head import VerifiedHead, open_head, verify_head
from manifests.console import Result, one_line, progress, utc_now, verb
from manifests.digest import digest_of
from manifests.errors import HostError, RefusedError, UsageError, WaybillError
from manifests.keys import read_capped
from manifests.release import Release, parse_release
from manifests.revocations import handler_digest
from manifests.trust import MAX_ROOT, parse_root
from manifests.units import show_size
from verifier.verify import Finding, VerifiedBundle, gravest, refusal, verify_path, verify_pipe
from verifier.whom import Whom, named_anchor

if TYPE_CHECKING:
    from verifier.site import Site

trust_options = (
    click.option("--root", "root", type=click.Path(path_type=Path), help="A root document that you trust."),
    click.option(
        "--fingerprint",
        metavar="WORDS",
        help="Fingerprint of the root, from the paper; of an enrolment, that of the site's key.",
    ),
    click.option("--site", type=click.Path(path_type=Path), help="Judge as this site would."),
    click.option("--enrolment", type=click.Path(path_type=Path), help="Of a report: the enrolment of its site."),
)


def _with_trust(function: Any) -> Any:
    for option in reversed(trust_options):
        function = option(function)
    return function


def find_trust(root: Path | None, fingerprint: str | None, given: Path | None) -> "tuple[Whom | None, Site | None]":
    """Whom to trust: --root or --fingerprint, else the site that judges; two times None when nothing says so.

    Raises:
        UsageError: Two say so.
    """
    if sum(one is not None for one in (root, fingerprint, given)) > 1:
        raise UsageError("--root, --fingerprint and --site are three answers to one question, give one", where="trust")
    anchor = named_anchor(root, fingerprint)
    if anchor is not None:
        return anchor, None
    # Away from a site, a verdict needs none of the site's code: an auditor reads what is loaded.
    from verifier.site_view import find_judging_site, site_anchor

    site = find_judging_site(given)
    return (None, None) if site is None else (site_anchor(site), site)


@verb(short_help="Check a bundle or a signed document.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@_with_trust
@click.option("--head", "head_file", type=click.Path(path_type=Path), help="Take the head from this file instead.")
def verify_command(
    files: tuple[str, ...],
    root: Path | None,
    fingerprint: str | None,
    site: Path | None,
    enrolment: Path | None,
    head_file: Path | None,
) -> Result:
    """Check that each bundle FILE is trusted, meant for here, and whole; - reads a pipe. Nothing is remembered.

    Trust is decided on the first bytes; a wrong bundle of any size is refused at once. FILE may also be a signed
    document: root, revocation list, authorisation, consignment, receipt, enrolment, report, request, answer.
    """
    whom, judging = None, None
    if enrolment is None or any((root, fingerprint, site)):
        whom, judging = find_trust(root, fingerprint, site)
    if whom is None and enrolment is None:
        raise UsageError(
            "nothing says whom to trust",
            where="trust",
            remedy="--fingerprint with the words of the vendor's paper, or --root, or --site",
        )
    if head_file is not None and len(files) > 1:
        raise UsageError("--head belongs to one bundle", where="--head")
    results = [_verify_one(file, whom, judging, enrolment, head_file) for file in files]
    text = "\n\n".join(result.text for result in results)
    error = gravest(result.error for result in results)
    data = results[0].data if len(results) == 1 else {"files": [result.data for result in results]}
    return Result(text, data, error)


def _verify_one(
    file: str, whom: Whom | None, site: "Site | None", enrolment: Path | None, head_file: Path | None
) -> Result:
    try:
        if is_document(file):
            if head_file is not None:
                raise UsageError("belongs to a bundle", where="--head", remedy=f"waybill verify {file}, without it")
            return _verify_document(file, whom, site, enrolment)
        if whom is None:
            raise UsageError(
                "an enrolment vouches for what a site signed, not for a bundle",
                where=file,
                remedy="--fingerprint with the words of the vendor's paper, or --root, or --site",
            )
        bundle = _verify_file(file, whom, head_file)
    except (WaybillError, FileNotFoundError) as wrong:
        error = wrong if isinstance(wrong, WaybillError) else HostError("no such file", where=file)
        if error.exit_code in _NOT_JUDGED:
            text = f"verdict: not judged: {file}: {error.problem}"
            return Result(text, {"file": file, "verdict": "not judged", "findings": []}, error)
        finding = Finding(error.finding, "refused", error.problem, error)
        data = {"file": file, "verdict": "refused", "findings": [_finding(finding)]}
        return Result(f"{finding.line()}\nverdict: {_verdict(error)} {file}", data, error)
    return verdict_of(file, bundle)


def is_document(file: str) -> bool:
    """Whether it is JSON; a bundle never begins with a brace. A pipe is read as a bundle."""
    path = Path(file)
    if file == "-" or not path.is_file():
        return False
    with path.open("rb") as opened:
        return opened.read(1) == b"{"


def _verify_document(file: str, whom: Whom | None, site: "Site | None", enrolment: Path | None) -> Result:
    from verifier.documents import Judge, document_data, judge_document, read_document

    data, said = read_document(Path(file))
    vouched = judge_document(Path(file), data, said, Judge(whom, site, enrolment))
    finding = Finding("signatures", "ok", vouched.by)
    practice = ", practice" if vouched.practice else ""
    lines = [finding.line(), f"verdict: verified {said.kind}, {one_line(said.title)}{practice} ({said.digest})"]
    facts = document_data(said)
    return Result(
        "\n".join(lines),
        {
            "file": file,
            "verdict": "verified",
            "practice": vouched.practice,
            "signers": list(vouched.signers),
            "findings": [_finding(finding)],
            **{name: value for name, value in facts.items() if name != "document"},
        },
    )


def _verify_file(file: str, whom: Whom, head_file: Path | None) -> VerifiedBundle:
    now, pin, facts, known = utc_now(), whom.pin, whom.facts, whom.known
    if file == "-":
        head = open_head(head_file) if head_file else None
        with progress("verifying", 0) as bar, os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=0) as stream:
            return verify_pipe(stream, pin, facts, now=now, advance=bar.advance, head=head, known=known)
    path = Path(file)
    size = path.stat().st_size
    with progress(f"verifying {path.name}", size) as bar:
        return verify_path(path, pin, facts, now=now, head_file=head_file, advance=bar.advance, known=known)


_VERDICTS = {3: "malformed", 4: "untrusted", 5: "refused", 7: "damaged or incomplete", 8: "too new"}
# Wrong usage, and a host that failed, say nothing about the file.
_NOT_JUDGED = (2, 6)


def _verdict(error: WaybillError) -> str:
    return _VERDICTS.get(error.exit_code, "refused")


def _finding(one: Finding) -> dict[str, Any]:
    return {"id": one.id, "level": one.level, "text": one.text}


def verdict_of(file: str, bundle: VerifiedBundle) -> Result:
    """One line per finding, then the verdict."""
    release = bundle.head.release
    error = refusal(bundle.findings)
    name = f"{release.product} {release.version}"
    if error is not None:
        verdict = f"{_verdict(error)} {name}"
    else:
        practice = ", practice" if bundle.head.practice else ""
        verdict = f"verified {name}, {bundle.end}{practice}"
    lines = [one.line() for one in bundle.findings]
    lines.append(f"verdict: {verdict} ({bundle.head.release_digest})")
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


@verb(short_help="Say what a document means.")
@click.argument("file", type=click.Path(path_type=Path))
@_with_trust
@click.option("--pem", "role", metavar="ROLE", help="Of a root document: the public keys of ROLE in PEM.")
def show_command(
    file: Path,
    root: Path | None,
    fingerprint: str | None,
    site: Path | None,
    enrolment: Path | None,
    role: str | None,
) -> Result:
    """Say in words what FILE means: a bundle, or a signed document of any kind.

    The first line says who vouches for it, or that nobody was asked.
    """
    if file.is_dir():
        open_head(file)
    with file.open("rb") as opened:
        document = opened.read(1) == b"{"
    if role is not None and not document:
        raise UsageError(
            "--pem is for root documents", where="--pem", remedy="waybill show trust/1.root.json --pem release"
        )
    if role is not None:
        return _pems(file, role)
    whom, judging = find_trust(root, fingerprint, site)
    if document:
        return _show_document(file, whom, judging, enrolment)
    head = open_head(file)
    if whom is None:
        release = parse_release(head.release)
        first = "not verified: nothing says whom to trust (--fingerprint, --root or --site)"
        return _show_release(first, release, digest_of(head.release), None)
    verified = verify_head(head, whom.pin, whom.known)
    by = ", ".join(verified.chain.who(keyid) for keyid in verified.signers)
    practice = " (practice)" * verified.practice
    first = f"head verified: {verified.chain.newest.vendor}{practice}, signed by {by}; the bulk was not read"
    return _show_release(first, verified.release, verified.release_digest, verified)


def _show_document(file: Path, whom: Whom | None, site: "Site | None", enrolment: Path | None) -> Result:
    from verifier.documents import Judge, document_data, document_text, judge_document, read_document

    data, said = read_document(file)
    by: str | None = None
    try:
        by = judge_document(file, data, said, Judge(whom, site, enrolment)).by
        first = f"verified: {by}"
    except (UsageError, RefusedError) as error:
        first = f"not verified: {error.problem} ({error.remedy})"
    if by is None and said.fingerprint and whom is None:
        first = f"not verified: compare this fingerprint with the vendor's paper before you trust {file.name}"
    return Result(document_text(first, said), {"verified": by is not None, "by": by, **document_data(said)})


def _pems(file: Path, role: str) -> Result:
    found = parse_root(read_capped(file, MAX_ROOT), str(file)).root
    if role not in found.roles:
        raise UsageError(f"no role {role!r}, the roles are {', '.join(sorted(found.roles))}", where="--pem")
    keys = [found.keys[keyid] for keyid in found.roles[role].keys if keyid in found.keys]
    return Result("".join(key.pem for key in keys).rstrip("\n"), {"pem": [key.pem for key in keys]})


def _show_release(first: str, release: Release, digest: str, verified: VerifiedHead | None) -> Result:
    size = sum(blob.size for blob in release.members)
    rows = [
        (
            "release",
            f"{release.product} {release.version}, {release.channel} {release.sequence}, issued {release.issued_at}",
        ),
        ("digest", digest),
        ("size", f"{len(release.members)} members, {show_size(size)}"),
        ("for", _audience(release)),
        ("from", " or ".join(release.needs.from_) + (" or nothing" if release.needs.fresh else "")),
        ("floor", str(release.floor)),
    ]
    rows += [("fixes", f"{one.advisory} ({one.severity}) in {one.in_}") for one in release.fixes]
    rows += [
        ("image", f"{one.to}:{release.version} {one.manifest.digest}, signed by {one.signed_by}")
        for one in release.images
    ]
    rows += [("files", f"{one.name}: {len(one.entries)} files") for one in release.files]
    rows += [("chart", one.name) for one in release.charts]
    rows += [("program", f"{one.name}: {', '.join(sorted(one.files))}") for one in release.programs]
    if release.config is not None:
        rows.append(("config", f"schema version {release.config.version}"))
    rows += [("contract", release.contract.digest), ("rollback", release.rollback.digest)]
    rows += [("handler", f"{one.name}: {one.does} ({one.risk}) {handler_digest(one)}") for one in release.handlers]
    rows += [("step", f"{one.step}: {one.driver}") for one in release.install]
    rows += [("absent", f"{one.platform} of {one.parent[:19]}") for one in release.absent]
    rows += [("kit", kit) for kit in release.kits]
    text = "\n".join([first, *(f"{name:<9} {value}" for name, value in rows)])
    data = {
        "verified": verified is not None,
        "signers": list(verified.signers) if verified else [],
        "practice": verified.practice if verified else None,
        "release": digest,
        "document": msgspec.to_builtins(release),
    }
    return Result(text, data)


def _audience(release: Release) -> str:
    if release.audience.everyone:
        return "everyone"
    return f"{', '.join(release.audience.customers)} in {', '.join(release.audience.environments)}"


@verb(short_help="Say what differs.")
@click.argument("old", type=click.Path(path_type=Path, exists=True))
@click.argument("new", type=click.Path(path_type=Path, exists=True))
@click.option("--only", metavar="PARTS", help="Only these, joined by commas: images,sbom,schema,contract,handlers,...")
def compare_command(old: Path, new: Path, only: str | None) -> Result:
    """Say what differs between OLD and NEW: two bundles, or two roots, policies, contracts, reports.

    Neither is verified by this.
    """
    from verifier.compare import compare_files

    found = compare_files(old, new, frozenset(only.split(",")) if only else frozenset())
    lines = ["not verified: a comparison of what the two files say"]
    lines += [f"cannot be compared: {one_line(one)}" for one in found.unread]
    lines += [one_line(one.line()) for one in found.differences] or ["no difference"]
    data = {
        "verified": False,
        "differences": [msgspec.to_builtins(one) for one in found.differences],
        "not_compared": list(found.unread),
    }
    return Result("\n".join(lines), data)
