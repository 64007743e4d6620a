"""The command `waybill build`."""

import os
import re
from pathlib import Path

import click

from console.options import passphrase_option, verb
from console.output import say
from console.progress import progress
from console.result import Result
from manifests.words.errors import UsageError
from manifests.words.units import show_size


@verb(short_help="Pack a release into one bundle.")
@click.argument("release_yaml", metavar="RELEASE.YAML", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path(), metavar="PATH",
              help="Folder, or the file itself. Default: PRODUCT-VERSION.tar here.")  # fmt: skip
@click.option("--key", "keys", multiple=True, envvar="WAYBILL_KEY", metavar="URI",
              help="Release key; may be repeated. Default: the role `release` in trust.yaml.")  # fmt: skip
@click.option("--unsigned", is_flag=True, help="Leave it to be signed later with `waybill sign`.")
@click.option("--trust", "trust_yaml", type=click.Path(path_type=Path), metavar="FILE",
              help="trust.yaml; root documents lie in trust/ beside it. Default: beside RELEASE.YAML.")  # fmt: skip
@click.option("--after", multiple=True, type=click.Path(path_type=Path), metavar="BUNDLE",
              help="An earlier release, to check floor and ranges against; may be repeated.")  # fmt: skip
@click.option("--kit", "kits", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
              help="A verifier that reads this bundle; its digest is recorded.")  # fmt: skip
@click.option("--plain-http", multiple=True, metavar="HOST", help="Speak to this registry without TLS.")
@click.option("--ca", type=click.Path(path_type=Path), metavar="FILE",
              help="Authorities that vouch for registries, instead of the system's.")  # fmt: skip
@click.option("--auth-file", type=click.Path(path_type=Path), metavar="FILE", help="Credentials for registries.")
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
    from bundler.build import build
    from bundler.collect import Access
    from bundler.lists import newest_list
    from bundler.roots import own_chain
    from bundler.signers import open_signers
    from content.bundle.head import open_head
    from content.trust.head import verify_head
    from manifests.trust.root import Pin

    trust_yaml = trust_yaml or release_yaml.parent / "trust.yaml"
    chain = own_chain(trust_yaml.parent)
    first = chain.roots[0]
    pin = Pin(version=first.root.version, digest=first.fingerprint)
    built = build(
        release_yaml,
        out,
        chain=chain,
        signers=() if unsigned else open_signers(keys, trust_yaml, passphrase_fd),
        revocations=newest_list(trust_yaml.parent, chain),
        after=tuple(verify_head(open_head(path), pin) for path in after),
        kits=kits,
        source_date_epoch=_source_date_epoch(os.environ.get("SOURCE_DATE_EPOCH")),
        access=Access(plain_http=frozenset(plain_http), ca=ca, auth_file=auth_file),
        progress=progress,
    )
    for one in built.findings:
        say(f"warning: {one.text} ({one.finding})")
    release = built.release
    lines = [
        f"built    {built.path} ({show_size(built.size)})",
        f"release  {release.product} {release.version}, sequence {release.sequence}" + " (practice)" * built.practice,
        f"digest   {built.release_digest}",
        f"signed   {', '.join(keyid[:16] for keyid in built.signers) or 'by nobody'}",
    ]
    if built.missing:
        lines.append(f"missing  {built.missing} more of the release keys: waybill sign {built.path} --key KEY")
    return Result(
        "\n".join(lines),
        {
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
            "findings": [{"finding": one.finding, "text": one.text} for one in built.findings],
        },
    )


def _source_date_epoch(text: str | None) -> int | None:
    """reproducible-builds.org, SOURCE_DATE_EPOCH specification 1.1: ASCII digits."""
    if text is None or text == "":
        return None
    if not re.fullmatch(r"[0-9]{1,12}", text):
        raise UsageError(f"{text!r} is no number of seconds", where="SOURCE_DATE_EPOCH")
    return int(text)
