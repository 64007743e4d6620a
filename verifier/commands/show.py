"""waybill show"""

import os
import zipfile
from dataclasses import replace
from pathlib import Path

import click
import msgspec

from console.clock import utc_now
from console.options import command, path_option, typed_command
from console.output import say
from console.result import Result
from content.bundle.archive import BLOCK, header
from content.bundle.head import OCI_LAYOUT, open_head
from content.differences.bundle_documents import opened_bundle
from content.differences.release_documents import notes_lines
from content.signing.detached import is_request
from content.signing.vendor_keys import read_vendor_keys
from content.trust.head import VerifiedHead, verify_head
from manifests.documents.release import Image, Release, handler_digest
from manifests.documents.release_reader import parse_release
from manifests.foreign.attachments import MAX_NOTES
from manifests.trust.keys import open_regular, read_capped
from manifests.trust.root import MAX_ROOT, parse_root, read_root
from manifests.words.digest import digest_of
from manifests.words.errors import MalformedError, RefusedError, UntrustedError, UsageError, WaybillError
from manifests.words.text import QUOTE, one_line
from manifests.words.time import rfc3339
from manifests.words.units import show_count, show_size
from verifier.approval.page import as_page, write_new
from verifier.commands.show_handler import show_handler
from verifier.commands.show_rights import show_rights
from verifier.commands.trust_options import NamedTrust, find_trust, name_other_trust, with_trust
from verifier.documents.enrolment_paper import check_quorum, enrolment_paper
from verifier.documents.registry import document_data, document_text, judge_document, read_document
from verifier.documents.signing_files import ShownFile, show_request, show_signing_file
from verifier.documents.values import DocumentJudge
from verifier.site.blobs import hash_file
from verifier.trust.findings import VERIFIER_VERSION


@command(
    examples=(
        "waybill show app-1.0.0.tar",
        "waybill show report.json --enrolment enrolment.json",
        "waybill show trust/1.root.json --page paper.html --kit waybill.pyz",
    )
)
@click.argument("file", type=click.Path(path_type=Path))
@with_trust
@click.option("--pem", "role", metavar="ROLE", help="Print the public keys of ROLE in a root document as PEM.")
@path_option("--page", help="Write the paper of a first enrolment as one HTML page. FILE is a root document.")
@path_option("--kit", help="Kit whose digest the paper names. Default: a line to fill in.")
@click.option(
    "--rbac",
    "namespace",
    metavar="NAMESPACE",
    help="Print the rights that installing the charts of a bundle into NAMESPACE needs.",
)
@click.option("--minimum-sequence", "minimum", type=click.IntRange(min=1), metavar="N",
              help="Lowest release sequence that the paper names. Default: any.")  # fmt: skip
def show_command(
    file: Path,
    root: Path | None,
    fingerprint: str | None,
    site: Path | None,
    enrolment: Path | None,
    role: str | None,
    page: Path | None,
    kit: Path | None,
    namespace: str | None,
    minimum: int | None,
) -> Result:
    """Explain FILE in words: a bundle, a signed document of any kind, or a folder of `sign --prepare`.

    At a site FILE can be the name of a handler: its definition, and whether it may and can run there.

    The first line names who signed it, or says that it is not verified.

    --rbac prints a service account with the least rights, as objects for `kubectl apply`. The charts are rendered with
    their defaults by the helm of this host.

    --page writes the paper that a vendor hands over by another way than the medium: the fingerprint of the root, the
    digest of the kit, what to type at the site, and lines for date and signature.
    """
    if page is None and (kit is not None or minimum is not None):
        remedy = typed_command("--page", "FILE")
        raise UsageError("--kit and --minimum-sequence are for a paper", where="--page", remedy=remedy)
    if namespace is not None:
        return show_rights(file, namespace)
    if page is not None and role is not None:
        raise UsageError("--pem prints keys, --page writes a paper", where="--page", remedy="leave out one of them")
    if page is not None:
        return _paper(file, page, kit, minimum)
    if role is None and (handler := show_handler(file, site)) is not None:
        return handler
    if file.is_dir() and is_request(file):
        return _plain(show_request(file, fingerprint))
    if file.is_dir():
        open_head(file)
    if role is not None:
        return _pems(file, role)
    if (part := _part_of_request(file)) is not None:
        return _plain(part)
    trust = find_trust(root, fingerprint, site, needs_site=False)
    if trust.no_site:
        say(trust.no_site)
    if _is_document(file):
        return _show_document(file, trust, enrolment)
    return _show_bundle(file, trust)


def _is_document(file: Path) -> bool:
    with os.fdopen(open_regular(file), "rb") as opened:
        return opened.read(1) == b"{"


def _check_root_document(file: Path, option: str) -> None:
    if not _is_document(file):
        remedy = f"waybill show trust/1.root.json {option} {'release' if option == '--pem' else 'paper.html'}"
        raise UsageError(f"{option} is for root documents", where=option, remedy=remedy)


def _paper(file: Path, page: Path, kit: Path | None, minimum: int | None) -> Result:
    _check_root_document(file, "--page")
    root = read_root(file)
    check_quorum(root, str(file), read_vendor_keys(file))
    digest = None if kit is None else _kit_digest(kit)
    about = f"written by waybill {VERIFIER_VERSION}, {rfc3339(utc_now())}"
    paper = enrolment_paper(root, digest, minimum, about)
    data = {"fingerprint": root.fingerprint, "kit": digest, "minimum_sequence": minimum}
    return Result(f"written: {write_new(page, as_page(paper).encode())}", {**data, "page": str(page)})


def _kit_digest(kit: Path) -> str:
    try:
        with zipfile.ZipFile(kit) as packed:
            packed.getinfo("kit.json")
    except (zipfile.BadZipFile, KeyError):
        remedy = "name the file waybill.pyz that `waybill kit` wrote"
        raise MalformedError("this is no kit", where=str(kit), remedy=remedy) from None
    return hash_file(kit)


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
    site, error = trust.guessed_by(error), trust.advise(error)
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
    _check_root_document(file, "--pem")
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
    rows += [("notes", QUOTE + one_line(line)) for line in notes if line]
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
