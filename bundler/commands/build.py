"""The command `waybill build`."""

import os
import re
import shlex
from pathlib import Path

import click

from bundler.access import Access, read_registries
from bundler.build import BuildRequest, BuiltBundle, build
from bundler.checks import release_key_uris
from bundler.files import check_release_file
from bundler.trust_documents import newest_list, own_chain
from console.options import command, passphrase_option
from console.output import say
from console.progress import progress
from console.result import Result
from content.bundle.head import open_head
from content.commands.open_key import open_key, open_keys
from content.commands.signed_by import key_list
from content.signing.vendor_keys import TRUST_YAML, VendorKeys, read_vendor_keys
from content.trust.head import verify_head
from manifests.authored.named_file import check_named_file
from manifests.trust.private_keys import Signer
from manifests.trust.root import Pin
from manifests.words.errors import UsageError
from manifests.words.text import one_line
from manifests.words.units import show_size


@command(
    examples=(
        "waybill build release.yaml -o out",
        "waybill build release.yaml --after out/app-1.0.0.tar --key keys/release-1.key",
        "waybill build release.yaml --plain-http 127.0.0.1:5000 --unsigned",
    ),
)
@click.argument("release_yaml", metavar="RELEASE.YAML", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path(), metavar="PATH",
              help="Folder, or the file itself. Default: PRODUCT-VERSION.tar here.")  # fmt: skip
@click.option("--key", "keys", multiple=True, envvar="WAYBILL_KEY", metavar="URI",
              help="Release key. Repeatable. Default: the role `release` in trust.yaml.")  # fmt: skip
@click.option("--unsigned", is_flag=True, help="Write the bundle without a signature, for `waybill sign`.")
@click.option("--trust", "trust_yaml", type=click.Path(path_type=Path), metavar="FILE",
              help="trust.yaml, with root documents in trust/ beside it. Default: beside RELEASE.YAML.")  # fmt: skip
@click.option("--after", multiple=True, type=click.Path(path_type=Path), metavar="BUNDLE",
              help="Earlier release, to check floor and ranges against. Repeatable.")  # fmt: skip
@click.option("--kit", "kits", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
              help="Verifier that reads this bundle; its digest is recorded. Repeatable.")  # fmt: skip
@click.option("--plain-http", multiple=True, metavar="HOST", help="Registry to reach without TLS. Repeatable.")
@click.option("--ca", type=click.Path(path_type=Path), metavar="FILE",
              help="Authorities of registries, as PEM. Default: those of the system.")  # fmt: skip
@click.option("--auth-file", type=click.Path(path_type=Path), metavar="FILE",
              help="Credentials for registries. Default: where login tools put them.")  # fmt: skip
@passphrase_option
def build_command(
    release_yaml: Path,
    out: Path,
    keys: tuple[str, ...],
    unsigned: bool,
    trust_yaml: Path | None,
    after: tuple[Path, ...],
    kits: tuple[Path, ...],
    plain_http: tuple[str, ...],
    ca: Path | None,
    auth_file: Path | None,
    passphrase_fd: int | None,
) -> Result:
    """Pack everything that RELEASE.YAML names into one bundle and sign it.

    Files, charts and programs are hashed first; layouts, archives and registries are read once, while the bundle is
    written. Equal inputs give equal bundles.
    """
    check_release_file(release_yaml)
    trust_yaml = trust_yaml or release_yaml.parent / TRUST_YAML
    if trust_yaml.exists():  # it is read only where it names the keys, and is checked as `lint` does
        check_named_file(trust_yaml)
    chain = own_chain(trust_yaml.parent)
    first = chain.roots[0]
    pin = Pin(version=first.root.version, digest=first.fingerprint)
    request = BuildRequest(
        release_yaml=release_yaml,
        out=out,
        chain=chain,
        signers=() if unsigned else _open_signers(keys, trust_yaml, passphrase_fd),
        revocations=newest_list(trust_yaml.parent, chain),
        after=tuple(verify_head(open_head(path), pin) for path in after),
        kits=kits,
        source_date_epoch=_source_date_epoch(os.environ.get("SOURCE_DATE_EPOCH")),
        access=Access(frozenset(plain_http), ca, auth_file, read_registries(release_yaml.parent), release_yaml.parent),
    )
    built = build(request, progress)
    for finding in built.findings:
        say(f"warning: {finding.text} ({finding.finding})")
    root = trust_yaml.parent / "trust" / f"{first.root.version}.root.json"
    others = sorted(set(chain.newest.roles["release"].keys) - set(built.signers))
    return _result(built, root, read_vendor_keys(root), others)


def _open_signers(keys: tuple[str, ...], trust_yaml: Path, passphrase_fd: int | None) -> tuple[Signer, ...]:
    """The signers behind ``keys``, or behind those that trust.yaml names for the role ``release``."""
    if keys:
        return open_keys(keys, passphrase_fd)
    return tuple(open_key(uri, passphrase_fd, trust_yaml.parent) for uri in release_key_uris(trust_yaml))


def _result(built: BuiltBundle, root: Path, keys: VendorKeys, unsigned: list[str]) -> Result:
    """Describe the bundle. ``unsigned`` are the ids of the release keys that have not signed it."""
    release = built.release
    others = key_list(unsigned, keys.names)
    lines = [
        f"built    {built.path} ({show_size(built.size)})" + ", practice" * built.practice,
        f"signed   {key_list(built.signers, keys.names) or 'by nobody'}",
        *([f"missing  {built.missing} more of the release keys: {others}"] if built.missing else []),
        f"release  {release.product} {release.version}, {release.channel}, sequence {release.sequence}",
        f"digest   {built.release_digest}",
        *(f"sbom     {one_line(line)}" for line in built.sboms),
        "",
        "next:",
    ]
    file = shlex.quote(str(built.path))
    if built.missing:
        lines.append(f"  waybill sign {file} --key {keys.best_option(unsigned)}")
    else:
        lines.append(f"  waybill verify {file} --root {shlex.quote(str(root))}")
    data = {
        "bundle": str(built.path),
        "size": built.size,
        "product": release.product,
        "version": release.version,
        "channel": release.channel,
        "sequence": release.sequence,
        "release": built.release_digest,
        "signers": list(built.signers),
        "missing_signatures": built.missing,
        "practice": built.practice,
        "sboms": list(built.sboms),
        "findings": [{"finding": finding.finding, "text": finding.text} for finding in built.findings],
    }
    return Result("\n".join(lines), data)


def _source_date_epoch(text: str | None) -> int | None:
    """reproducible-builds.org, SOURCE_DATE_EPOCH specification 1.1: ASCII digits."""
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,12}", text):
        problem = f"{text!r} is no number of seconds"
        raise UsageError(problem, where="SOURCE_DATE_EPOCH", remedy="set seconds since 1970, or unset it")
    return int(text)
