"""The command line of looking: `verify`, `show`, `compare`. Needs no site, and writes nothing."""

import os
import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from content.head import Known, VerifiedHead, open_head, verify_head
from manifests.authorisation import AUTHORISATION_TYPE, parse_authorisation
from manifests.console import Result, one_line, progress, utc_now, verb
from manifests.digest import digest_of
from manifests.envelope import MAX_BUNDLE, Envelope
from manifests.errors import HostError, MalformedError, UsageError, WaybillError
from manifests.fingerprint import as_groups, as_words, parse_fingerprint
from manifests.keys import PublicKey, read_capped
from manifests.release import Release, parse_release
from manifests.revocations import REVOCATIONS_TYPE, handler_digest, parse_revocations
from manifests.trust import MAX_ROOT, Pin, SignedRoot, parse_root
from manifests.units import show_size
from verifier.verify import Finding, SiteFacts, VerifiedBundle, refusal, verify_path, verify_pipe

trust_options = (
    click.option("--root", "root", type=click.Path(path_type=Path), help="A root document that you trust."),
    click.option("--fingerprint", metavar="WORDS", help="Fingerprint of the root: groups or words from the paper."),
    click.option("--site", type=click.Path(path_type=Path), help="Judge as this site would."),
)


def _with_trust(function: Any) -> Any:
    for option in reversed(trust_options):
        function = option(function)
    return function


def find_pin(
    root: Path | None, fingerprint: str | None, site: Path | None
) -> tuple[Pin, SiteFacts | None, Known] | None:
    """Whom to trust: --root or --fingerprint, else the site's; None when nothing says so.

    Raises:
        UsageError: Two say so.
    """
    if sum(given is not None for given in (root, fingerprint, site)) > 1:
        raise UsageError("--root, --fingerprint and --site are three answers to one question, give one", where="trust")
    if root is not None:
        document = parse_root(read_capped(root, MAX_ROOT), str(root))
        return Pin(version=document.root.version, digest=document.fingerprint), None, Known(roots=(document.raw,))
    if fingerprint is not None:
        return Pin(version=0, digest=parse_fingerprint(fingerprint)), None, Known()
    from verifier.facts import facts_of, proposed_channel
    from verifier.fsops import Disk
    from verifier.host import this_host
    from verifier.site import find_site, open_site
    from verifier.trust import known_of

    try:
        found = find_site(site, os.environ, Path.cwd())
    except UsageError:
        if site is not None or os.environ.get("WAYBILL_SITE"):
            raise
        return None
    opened = open_site(found, Disk(), this_host())
    facts = facts_of(opened.state, proposed_channel(found))
    return facts.pin, facts, known_of(opened)


@verb(short_help="Check a bundle.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@_with_trust
@click.option("--head", "head_file", type=click.Path(path_type=Path), help="Take the head from this file instead.")
def verify_command(
    files: tuple[str, ...], root: Path | None, fingerprint: str | None, site: Path | None, head_file: Path | None
) -> Result:
    """Check that each bundle FILE is trusted, meant for here, and whole; - reads a pipe.

    Trust is decided on the first bytes; a wrong bundle of any size is refused at once. Nothing is remembered.
    """
    found = find_pin(root, fingerprint, site)
    if found is None:
        raise UsageError(
            "nothing says whom to trust",
            where="trust",
            remedy="--fingerprint with the words of the vendor's paper, or --root, or --site",
        )
    if head_file is not None and len(files) > 1:
        raise UsageError("--head belongs to one bundle", where="--head")
    results = [_verify_one(file, *found, head_file) for file in files]
    text = "\n\n".join(result.text for result in results)
    error = next((result.error for result in results if result.error), None)
    data = results[0].data if len(results) == 1 else {"bundles": [result.data for result in results]}
    return Result(text, data, error)


def _verify_one(file: str, pin: Pin, facts: SiteFacts | None, known: Known, head_file: Path | None) -> Result:
    try:
        bundle = _verify_file(file, pin, facts, known, head_file)
    except (WaybillError, FileNotFoundError) as wrong:
        error = wrong if isinstance(wrong, WaybillError) else HostError("no such file", where=file)
        finding = Finding(error.finding, "refused", error.problem, error)
        return Result(f"{finding.line()}\nverdict: {_verdict(error)} {file}", _failed(file, finding), error)
    return verdict_of(file, bundle)


def _verify_file(file: str, pin: Pin, facts: SiteFacts | None, known: Known, head_file: Path | None) -> VerifiedBundle:
    now = utc_now()
    if file == "-":
        head = open_head(head_file) if head_file else None
        with progress("verifying", 0) as bar, os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=0) as stream:
            return verify_pipe(stream, pin, facts, now=now, advance=bar.advance, head=head, known=known)
    path = Path(file)
    size = path.stat().st_size
    with progress(f"verifying {path.name}", size) as bar:
        return verify_path(path, pin, facts, now=now, head_file=head_file, advance=bar.advance, known=known)


_VERDICTS = {3: "malformed", 4: "untrusted", 5: "refused", 6: "not judged:", 7: "damaged or incomplete", 8: "too new"}


def _verdict(error: WaybillError) -> str:
    return _VERDICTS.get(error.exit_code, "refused")


def _failed(file: str, finding: Finding) -> dict[str, Any]:
    return {"file": file, "verdict": "refused", "findings": [_finding(finding)]}


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
def show_command(file: Path, root: Path | None, fingerprint: str | None, site: Path | None, role: str | None) -> Result:
    """Say in words what FILE means; the first line says who vouches for it, or that nobody was asked."""
    if file.is_dir():
        open_head(file)
    with file.open("rb") as opened:
        start = opened.read(1)
    if start == b"{":
        return _show_json(file, role)
    if role is not None:
        raise UsageError(
            "--pem is for root documents", where="--pem", remedy="waybill show trust/1.root.json --pem release"
        )
    head = open_head(file)
    found = find_pin(root, fingerprint, site)
    if found is None:
        release = parse_release(head.release)
        first = "not verified: nothing says whom to trust (--fingerprint, --root or --site)"
        return _show_release(first, release, digest_of(head.release), None)
    verified = verify_head(head, found[0], found[2])
    by = ", ".join(verified.chain.who(keyid) for keyid in verified.signers)
    practice = " (practice)" * verified.practice
    first = f"head verified: {verified.chain.newest.vendor}{practice}, signed by {by}; the bulk was not read"
    return _show_release(first, verified.release, verified.release_digest, verified)


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


class _Typed(msgspec.Struct):
    """Just enough of a JSON file to know what it is."""

    payload_type: str = msgspec.field(name="payloadType", default="")


def _show_json(file: Path, role: str | None) -> Result:
    data = read_capped(file, 16 << 20)
    from manifests.canonical import decode

    kind = decode(data, _Typed, str(file)).payload_type
    if kind == "application/vnd.waybill.root.v1+json":
        return _show_root(parse_root(data, str(file)), file, role)
    if role is not None:
        raise UsageError("--pem is for root documents", where="--pem")
    if kind == REVOCATIONS_TYPE:
        return _show_list(data, file)
    if kind == AUTHORISATION_TYPE:
        return _show_authorisation(data, file)
    if kind:
        envelope = decode(data, Envelope, str(file))
        payload = envelope.payload_bytes
        signed = ", ".join(one.keyid[:12] for one in envelope.signatures) or "nobody"
        first = f"not verified: a signed document of type {kind}, its signatures say {signed}"
    else:
        from manifests.envelope import bundle_payload

        payload = bundle_payload(data, str(file)) if len(data) <= MAX_BUNDLE * 2 else b""
        first = "not verified: a signed statement"
    try:
        document = msgspec.json.decode(payload)
    except (msgspec.DecodeError, RecursionError):
        raise MalformedError("not a document of Waybill", where=str(file)) from None
    text = msgspec.json.format(msgspec.json.encode(document, order="sorted"), indent=2).decode()
    return Result(f"{first}\n{text}", {"verified": False, "document": document})


def _show_list(data: bytes, file: Path) -> Result:
    envelope, found = parse_revocations(data, str(file))
    signed = ", ".join(one.keyid[:12] for one in envelope.signatures) or "nobody"
    rows = [
        "not verified: a site judges it by the root that it trusts",
        f"list      {found.vendor}, revocation list {found.version}",
    ]
    rows += [f"key       {one}" for one in found.keys]
    rows += [f"release   {one}" for one in found.releases]
    rows += [f"handler   {one}" for one in found.handlers]
    rows.append(f"signed by {signed}")
    return Result("\n".join(rows), {"verified": False, "document": msgspec.to_builtins(found)})


def _show_authorisation(data: bytes, file: Path) -> Result:
    envelope, found = parse_authorisation(data, str(file))
    leaves, goes_to = found.leaves, found.goes_to
    signed = ", ".join(one.keyid[:12] for one in envelope.signatures) or "nobody"
    rows = [
        "not verified: a site judges it by the root that it trusts",
        f"permits    a way back below the floor, once: authorisation {found.number} of {found.vendor}",
        f"at         {', '.join(found.sites) or 'every site that runs the release which carries it'}",
        f"leaves     {found.product}, {leaves.channel} {leaves.mark.sequence} of epoch {leaves.mark.epoch}",
        f"back to    {found.product} {goes_to.version}, {goes_to.channel} {goes_to.mark.sequence} of epoch "
        f"{goes_to.mark.epoch}",
        f"           {goes_to.release}",
        f"because    {one_line(found.why)}",
        f"loses      {one_line(found.loses)}",
        f"reopens    {one_line(', '.join(found.reopens)) or 'no advisory'}",
        f"issued     {found.issued_at}",
        f"spent as   {digest_of(envelope.payload_bytes)}",
        f"signed by  {signed}",
    ]
    return Result("\n".join(rows), {"verified": False, "document": msgspec.to_builtins(found)})


def _show_root(found: SignedRoot, file: Path, role: str | None) -> Result:
    if role is not None:
        if role not in found.root.roles:
            raise UsageError(f"no role {role!r}, the roles are {', '.join(sorted(found.root.roles))}", where="--pem")
        held_keys = found.root.roles[role].keys
        keys: list[PublicKey] = [found.root.keys[keyid] for keyid in held_keys if keyid in found.root.keys]
        return Result("".join(key.pem for key in keys).rstrip("\n"), {"pem": [key.pem for key in keys]})
    rows = [
        f"not verified: compare this fingerprint with the vendor's paper before you trust {file.name}",
        f"root      {found.root.vendor}, version {found.root.version}" + " (practice)" * found.root.practice,
        f"groups    {as_groups(found.fingerprint)}",
        f"words     {as_words(found.fingerprint)}",
    ]
    for name, held in sorted(found.root.roles.items()):
        products = f" for {', '.join(held.products)}" if held.products else ""
        names = {id_: one.name for id_, one in found.root.identities.items()}
        who = ", ".join(names.get(keyid, keyid[:12]) for keyid in held.keys)
        rows.append(f"role      {name}: {held.threshold} of {who}{products}")
    rows += [f"left      {keyid[:12]}: {leaver.how}" for keyid, leaver in sorted(found.root.leave.items())]
    signed = ", ".join(one.keyid[:12] for one in found.envelope.signatures)
    rows.append(f"signed by {signed or 'nobody'}")
    data = {"verified": False, "fingerprint": found.fingerprint, "document": msgspec.to_builtins(found.root)}
    return Result("\n".join(rows), data)


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
