"""waybill install"""

import sys
from collections.abc import Callable
from pathlib import Path

import click

from console.options import command, path_option, text_option
from console.output import say
from console.progress import progress
from console.result import Result
from content.differences.documents import policy_differences
from manifests.words.digest import DIGEST
from manifests.words.errors import AttentionError, UsageError
from manifests.words.fingerprint import parse_fingerprint
from manifests.words.text import one_line
from manifests.words.units import show_count, show_size
from verifier.approval.policy_change import (
    PolicyChange,
    PolicyReplacement,
    install_policy,
    policy_change,
    replace_policy,
)
from verifier.change.values import Change
from verifier.commands.change_options import items_argument, runtime_here, write_report_after
from verifier.commands.site_options import hold_here, open_here, site_option
from verifier.install.install import InstallRequest, install
from verifier.install.result import InstallResult
from verifier.intake.bundles import receive_bundle
from verifier.site.folder import Site


@command(examples=("waybill install r-1.4.2", "waybill install r-1.4.2 --dry-run", "waybill install policy"))
@items_argument(required=True)
@path_option("--media", metavar="PATH", help="Path of the bundle, if it was moved.")
@click.option("--contract", metavar="DIGEST", help="Digest of the telemetry contract. Required for the first install.")
@text_option("--outside-window", metavar="REASON", help="Reason for installing outside of the policy's windows.")
@click.option("--emergency", metavar="RULE", help="Emergency rule of the policy to use instead of its approvals.")
@click.option("--gone", multiple=True, metavar="NAME",
              help="Person who can no longer approve; only with ITEM `policy`. Repeatable.")  # fmt: skip
@text_option("--reason", help="Reason for --gone; kept, and reported to support.")
@click.option("--fingerprint", metavar="WORDS",
              help="Fingerprint of the new policy for --gone, from the customer's paper.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Check everything and count the space; change nothing.")
@site_option
def install_command(
    items: tuple[str, ...],
    media: Path | None,
    contract: str | None,
    outside_window: str | None,
    emergency: str | None,
    gone: tuple[str, ...],
    reason: str | None,
    fingerprint: str | None,
    dry_run: bool,
    place: Path | None,
) -> Result:
    """Install ITEM and watch its trial; roll back automatically if it fails.

    ITEM is an item of the queue, or the path of a bundle, which is received first. Several releases are installed one
    after the other. The item `policy` puts the proposed policy into force. If too few of its people are left to
    approve another policy, the others can replace it: --gone, --reason and --fingerprint.
    """
    if "policy" in items and emergency is not None:
        raise UsageError("emergency rules are for releases", where="--emergency", remedy="leave out --emergency")
    if "policy" in items:
        return _install_policy(place, items, gone, reason, fingerprint, dry_run=dry_run)
    if gone or reason is not None or fingerprint is not None:
        raise UsageError(
            "--gone, --reason and --fingerprint are for the item `policy`",
            where="install",
            remedy="leave them out for any other item",
        )
    with hold_here(place, "install") as site:
        media, items = _receive_first(site, media, items)
        request = InstallRequest(
            items=items,
            write_report=write_report_after,
            media=media,
            contract=_ask_contract(contract),
            outside_window=outside_window,
            emergency_rule=emergency,
            dry_run=dry_run,
        )
        ended = install(site, request, runtime_here())
    return install_output(ended, "still runs" if dry_run else "runs")


def _receive_first(site: Site, media: Path | None, items: tuple[str, ...]) -> tuple[Path | None, tuple[str, ...]]:
    """Receive the bundle if the single item is its path; return the bundle's path and the items."""
    bundle = Path(items[0])
    if len(items) > 1 and media is not None:
        raise UsageError(
            "--media names one bundle, and several releases are asked for",
            where="--media",
            remedy="waybill receive MEDIUM first, which remembers where each of them is",
        )
    if len(items) > 1 or not ("/" in items[0] or bundle.is_file()):
        return media, items
    with progress(bundle.name, bundle.stat().st_size) as bar:
        item = receive_bundle(site, bundle, keep=False, advance=bar.advance, say=say).item
    return media or bundle, (item,)


def _install_policy(
    place: Path | None,
    items: tuple[str, ...],
    gone: tuple[str, ...],
    reason: str | None,
    fingerprint: str | None,
    *,
    dry_run: bool,
) -> Result:
    """Put the proposed policy into force, or replace one whose people are gone.

    Raises:
        UsageError: Another item is named too, or only some of the three options.
    """
    if items != ("policy",):
        raise UsageError("a policy comes into force alone", where="policy", remedy="waybill install policy")
    given = [bool(gone), reason is not None, fingerprint is not None]
    if any(given) and not all(given):
        raise UsageError(
            "--gone, --reason and --fingerprint go together",
            where="policy",
            remedy="without them, the people of the policy in force agree to it",
        )
    if dry_run:
        site = open_here(place)
        change = policy_change(site)
        return Result("\n".join(_policy_lines(change)), {"policy": change.digest})
    with hold_here(place, "install") as site:
        if reason is not None and fingerprint is not None:
            change = replace_policy(site, PolicyReplacement(gone, reason, parse_fingerprint(fingerprint)))
        else:
            change = install_policy(site)
        report = write_report_after(site, "policy")
    lines = [f"policy {change.proposed.number} is in force", *_policy_lines(change)]
    error = None
    if gone:
        error = AttentionError(
            f"the policy was replaced without {', '.join(gone)}; the report and `waybill status` say so",
            where="policy",
            remedy="tell support, and keep the signed paper",
            finding="policy-refounded",
        )
    data = {"policy": change.digest, "number": change.proposed.number, "gone": list(gone), "report": str(report)}
    return Result("\n".join([*lines, f"report: {report}"]), data, error)


def _policy_lines(change: PolicyChange) -> list[str]:
    return [one_line(difference.line()) for difference in policy_differences(change.in_force, change.proposed)]


def _ask_contract(given: str | None) -> Callable[[Change], str | None]:
    """Return a function for the digest of the contract: the option, else typed on a terminal, where it is not shown."""

    def ask(change: Change) -> str | None:
        text = given
        if text is None and change.contract is not None and sys.stdin.isatty():
            say(f"telemetry contract {change.contract.contract} version {change.contract.version} will be in force")
            text = click.prompt("its digest, as agreed", default="", show_default=False, err=True)
        return text if not text or DIGEST.fullmatch(text) else parse_fingerprint(text)

    return ask


def install_output(ended: InstallResult, label: str) -> Result:
    """Return what runs after a change, under ``label``, with the space that it needs and the report about it."""
    runs = ended.generation
    what = f"generation {runs.number}, {runs.product} {runs.version}" if runs else "nothing is installed"
    lines = [f"would fit: {ended.fits}"] if ended.fits else []
    lines.append(f"{label}: {what}" if runs or label == "runs" else "nothing is installed yet")
    if ended.need is not None:
        size, count = show_size(ended.need.bytes), show_count(ended.need.inodes, "file")
        lines.append(f"new blobs: {len(ended.need.missing)}; with folders and backups, at most {size} and {count}")
    lines += ended.lines
    if ended.report is not None:
        lines.append(f"report: {ended.report}")
    data: dict[str, object] = {
        "generation": runs.number if runs else 0,
        "version": runs.version if runs else None,
        "release": runs.release if runs else None,
        "report": str(ended.report) if ended.report else None,
        "way": list(ended.lines),
        "host": [look.fields() for look in ended.host],
    }
    return Result("\n".join(lines), data, ended.error)
