"""waybill show"""

import os
from dataclasses import replace
from pathlib import Path

import click
import msgspec

from console.options import command
from console.result import Result
from content.bundle.archive import BLOCK, header
from content.bundle.head import OCI_LAYOUT, open_head
from content.differences.bundle_documents import opened_bundle
from content.differences.release_documents import notes_lines
from content.signing.detached import is_request
from content.trust.head import VerifiedHead, verify_head
from manifests.documents.release import Image, Release, handler_digest
from manifests.documents.release_reader import parse_release
from manifests.foreign.attachments import MAX_NOTES
from manifests.trust.keys import open_regular, read_capped
from manifests.trust.root import MAX_ROOT, parse_root
from manifests.words.digest import digest_of
from manifests.words.errors import RefusedError, UntrustedError, UsageError, WaybillError
from manifests.words.text import one_line
from manifests.words.units import show_count, show_size
from verifier.commands.trust_options import NamedTrust, find_trust, name_other_trust, with_trust
from verifier.documents.registry import document_data, document_text, judge_document, read_document
from verifier.documents.signing_files import ShownFile, show_request, show_signing_file
from verifier.documents.values import DocumentJudge


@command(
    examples=(
        "waybill show app-1.0.0.tar",
        "waybill show report.json --enrolment enrolment.json",
        "waybill show trust/1.root.json --pem release",
    )
)
@click.argument("file", type=click.Path(path_type=Path))
@with_trust
@click.option("--pem", "role", metavar="ROLE", help="Print the public keys of ROLE in a root document as PEM.")
def show_command(
    file: Path, root: Path | None, fingerprint: str | None, site: Path | None, enrolment: Path | None, role: str | None
) -> Result:
    """Explain FILE in words: a bundle, a signed document of any kind, or a folder of `sign --prepare`.

    The first line names who signed it, or says that it is not verified.
    """
    if file.is_dir() and is_request(file):
        return _plain(show_request(file, fingerprint))
    if file.is_dir():
        open_head(file)
    if role is None and (part := _part_of_request(file)) is not None:
        return _plain(part)
    with os.fdopen(open_regular(file), "rb") as opened:
        document = opened.read(1) == b"{"
    if role is not None and not document:
        raise UsageError(
            "--pem is for root documents", where="--pem", remedy="waybill show trust/1.root.json --pem release"
        )
    if role is not None:
        return _pems(file, role)
    trust = find_trust(root, fingerprint, site)
    if document:
        return _show_document(file, trust, enrolment)
    return _show_bundle(file, trust)


def _plain(shown: ShownFile) -> Result:
    return Result("\n".join(shown.lines), shown.data)


def _part_of_request(file: Path) -> ShownFile | None:
    """One file of a signing request; None for a bundle, whose begin tells it, and for files with their own reader."""
    with os.fdopen(open_regular(file), "rb") as opened:
        is_bundle = opened.read(BLOCK) == header("oci-layout", len(OCI_LAYOUT))
    return None if is_bundle else show_signing_file(file)


def _show_bundle(file: Path, trust: NamedTrust) -> Result:
    head, anchor = open_head(file), trust.anchor
    first = "not verified: no trust was named (--fingerprint, --root or --site)"
    verified = None
    try:
        verified = verify_head(head, anchor.pin, anchor.known) if anchor else None
    except UntrustedError as error:
        first = _not_trusted(error, trust, file)
    notes = _notes(file)
    if verified is None:
        return _show_release(first, parse_release(head.release), digest_of(head.release), None, notes)
    by = ", ".join(verified.chain.who(keyid) for keyid in verified.signers)
    practice = " (practice)" * verified.practice
    first = f"head verified: {verified.chain.newest.vendor}{practice}, signed by {by}; the bulk was not read"
    return _show_release(first, verified.release, verified.release_digest, verified, notes)


def _notes(file: Path) -> tuple[str, ...]:
    """The lines of the release notes, which have the digest that ``release.json`` names; or why they are not shown."""
    try:
        with opened_bundle(file) as bundle:
            notes = bundle.release.notes
            return notes_lines(bundle.read(notes, MAX_NOTES)) if notes is not None else ()
    except WaybillError as error:
        return (f"not shown: {error.problem}",)


def _not_trusted(error: WaybillError, trust: NamedTrust, file: Path, kind: str = "") -> str:
    """Return the first line for a file that a guessed site does not trust: it is shown. Else raise ``error``."""
    site = trust.guessed_by(error)
    if site is None:
        raise error
    return f"not verified by the site {site.path}: {error.problem} ({name_other_trust('show', str(file), kind)})"


def _show_document(file: Path, trust: NamedTrust, enrolment: Path | None) -> Result:
    data, document = read_document(file)
    if enrolment is not None:
        trust = replace(trust, guessed=False)
    by: str | None = None
    try:
        by = judge_document(file, data, document, DocumentJudge(trust.anchor, trust.site, enrolment)).by
        first = f"verified: {by}"
    except (UsageError, RefusedError) as error:
        first = f"not verified: {error.problem} ({error.remedy})"
        if trust.guessed_by(error) is not None:
            first = _not_trusted(error, trust, file, document.kind)
    except UntrustedError as error:
        first = _not_trusted(error, trust, file, document.kind)
    if by is None and document.fingerprint and trust.anchor is None:
        first = f"not verified: compare this fingerprint with the vendor's paper before you trust {file.name}"
    return Result(document_text(first, document), {"verified": by is not None, "by": by, **document_data(document)})


def _pems(file: Path, role: str) -> Result:
    root = parse_root(read_capped(file, MAX_ROOT), str(file)).root
    if role not in root.roles:
        raise UsageError(f"no role {role!r}, the roles are {', '.join(sorted(root.roles))}", where="--pem")
    keys = [root.keys[keyid] for keyid in root.roles[role].keys if keyid in root.keys]
    return Result("".join(key.pem for key in keys).rstrip("\n"), {"pem": [key.pem for key in keys]}, exact=True)


def _made(image: Image) -> str:
    return f", converted from {image.converted}" if image.converted else ""


def _show_release(
    first: str, release: Release, digest: str, verified: VerifiedHead | None, notes: tuple[str, ...]
) -> Result:
    """Describe a release under the line ``first``, which says whether its head was verified."""
    audience, customers = release.audience, ", ".join(release.audience.customers)
    size = sum(blob.size for blob in release.members)
    place = f"{release.channel} {release.sequence}"
    rows = [
        ("release", f"{release.product} {release.version}, {place}, issued {release.issued_at}"),
        ("digest", digest),
        ("size", f"{len(release.members)} members, {show_size(size)}"),
        ("for", "everyone" if audience.everyone else f"{customers} in {', '.join(audience.environments)}"),
        ("from", " or ".join((*release.needs.from_, *(("nothing",) if release.needs.fresh else ())))),
        ("floor", str(release.floor)),
    ]
    rows += [("fixes", f"{one.advisory} ({one.severity}) in {one.in_}") for one in release.fixes]
    rows += [
        ("image", f"{image.at(release.version)} {image.manifest.digest}, signed by {image.signed_by}" + _made(image))
        for image in release.images
    ]
    rows += [("files", f"{one.name}: {show_count(len(one.entries), 'file')}") for one in release.files]
    rows += [("chart", one.name) for one in release.charts]
    rows += [("program", f"{one.name}: {', '.join(sorted(one.files))}") for one in release.programs]
    if release.config is not None:
        rows.append(("config", f"schema version {release.config.version}"))
    rows += [("contract", release.contract.digest), ("rollback", release.rollback.digest)]
    rows += [("handler", f"{one.name}: {one.does} ({one.risk}) {handler_digest(one)}") for one in release.handlers]
    rows += [("step", f"{one.step}: {one.driver}") for one in release.install]
    rows += [
        ("absent", f"{child.platform or f'layer {child.digest[:19]}, at {child.url},'} of {child.parent[:19]}")
        for child in release.absent
    ]
    rows += [("kit", kit) for kit in release.kits]
    rows += [("notes", one_line(line)) for line in notes if line]
    text = "\n".join([first, *(f"{name:<9} {value}" for name, value in rows)])
    data = {
        "verified": verified is not None,
        "signers": list(verified.signers) if verified else [],
        "practice": verified.practice if verified else None,
        "release": digest,
        "document": msgspec.to_builtins(release),
        "notes": list(notes),
    }
    return Result(text, data)
