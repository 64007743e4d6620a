"""waybill check"""

from dataclasses import dataclass, field
from pathlib import Path

import click

from console.options import command
from console.progress import progress
from console.result import Result
from manifests.words.errors import AttentionError, RefusedError, WaybillError
from manifests.words.units import show_count
from verifier.approval.items import approvable_of, hops_of
from verifier.approval.queue import waiting_items
from verifier.change.host_check import HostCheck, check_host
from verifier.change.site_check import check_site, failures, lines_to_add
from verifier.commands.change_options import items_argument, runtime_here
from verifier.commands.site_options import open_here, site_option
from verifier.install.context import Runtime
from verifier.runtime.preflight.result import PreflightResult
from verifier.runtime.setup import SetupFinding
from verifier.site.folder import Site
from verifier.site.outbox_damage import outbox_damage, outbox_data, outbox_lines
from verifier.site.vendor_access import check_served


@dataclass(frozen=True)
class ItemCheck:
    """What is missing here for an item, and what its releases need of the host."""

    findings: tuple[SetupFinding, ...]
    host: HostCheck = field(default_factory=HostCheck)

    @property
    def everything(self) -> tuple[SetupFinding, ...]:
        return (*self.findings, *self.host.findings)


@command(examples=("waybill check", "waybill check r-1.4.2", "waybill check r-1.4.2 --json"))
@items_argument(required=False)
@click.option("--fast", is_flag=True, help="Without ITEM, do not hash the blobs of the store.")
@site_option
def check_command(items: tuple[str, ...], fast: bool, place: Path | None) -> Result:
    """Look for everything that this site lacks for ITEM; change nothing.

    It looks at drivers, settings, endpoints, programs, accounts, secrets, the registry, the sandbox and the space, and
    at what the release needs of the host: each need is passed, warned or failed. All findings are printed at once,
    with the lines to add to site.yaml. No approval is needed.

    Several releases are one plan. Without ITEM, every release and configuration that waits is looked at, and the site
    itself: whether every blob of the store has its digest, what runs is as released, a rollback has its blobs and its
    space, keys and secrets are closed to others, certificates are good for 30 days, the clock is right, the timers run.
    What is asked over the network has to answer within 5 seconds.
    """
    site, runtime = open_here(place), runtime_here()
    if items:
        return _result({" ".join(items): check_item(site, items, runtime)}, outbox_damage(site))
    by_item: dict[str, ItemCheck] = {}
    for waiting in waiting_items(site):
        if waiting.head.kind in ("release", "config"):
            by_item[" ".join(waiting.items)] = check_item(site, waiting.items, runtime)
    # Loads http.client, ssl, requests and yaml, which no check of an item needs.
    from verifier.reporting.site_looks import look_at_site, store_bytes

    with progress("store", 0 if fast else store_bytes(site)) as bar:
        results = look_at_site(site, runtime.load, on_progress=None if fast else bar.advance)
    return _with_site(_result(by_item, outbox_damage(site)), results)


def _with_site(result: Result, results: tuple[PreflightResult, ...]) -> Result:
    """Add the looks at the site. What failed for an item decides the exit code before what failed at the site."""
    failed = [one for one in results if one.status == "failed"]
    warned = sum(one.status == "warned" for one in results)
    counts = ", ".join([*([f"{len(failed)} failed"] if failed else []), *([f"{warned} warned"] if warned else [])])
    lines = [result.text, f"the site: {counts or 'everything passed'}", *(f"  {one.line}" for one in results)]
    error = result.error
    if failed and error is None:
        error = AttentionError(
            f"{len(failed)} of {show_count(len(results), 'look')} at the site failed: {failed[0].problem}",
            where="site",
            remedy=failed[0].remedy or "do what each line says, then run this command again",
            finding="site-check",
        )
    return Result("\n".join(lines), {**result.data, "site": [one.fields() for one in results]}, error)


def check_item(site: Site, items: tuple[str, ...], runtime: Runtime) -> ItemCheck:
    """Return what is missing for the items; a reason why there is no plan at all is a finding too."""
    try:
        if items != ("policy",):
            check_served(site.state)
        asked = approvable_of(site, items)
    except WaybillError as error:
        return ItemCheck((SetupFinding("failed", error),))
    hops = hops_of(asked)
    return ItemCheck(check_site(site, hops, runtime.load, runtime.programs.check), check_host(site, hops, runtime.load))


def _result(by_item: dict[str, ItemCheck], damage: tuple[AttentionError, ...]) -> Result:
    """Return the findings. A damaged file of the outbox stops no install: it is named, and the exit code stays 0."""
    lines = [] if by_item else ["nothing waits that could be installed"]
    error: WaybillError | None = None
    for item, check in by_item.items():
        failed = failures(check.everything)
        lines.append(f"{item}: {f'{len(failed)} missing' if failed else 'nothing is missing'}")
        lines += [f"  {finding.text}" for finding in check.findings]
        lines += [f"  {line}" for line in check.host.lines]
        if failed and error is None:
            error = _refused(check.everything, item)
    everything = tuple(finding for check in by_item.values() for finding in check.everything)
    if add := lines_to_add(everything):
        lines += ["add to site.yaml, and replace each FILL-IN:", *(f"  {line}" for line in add)]
    lines += outbox_lines(damage)
    data = {
        "outbox": outbox_data(damage),
        "items": [
            {
                "item": item,
                "findings": [_data(finding) for finding in check.findings],
                "host": [result.fields() for result in check.host.results],
            }
            for item, check in by_item.items()
        ],
        "add": list(add),
    }
    return Result("\n".join(lines), data, error)


def _refused(findings: tuple[SetupFinding, ...], item: str) -> RefusedError:
    """Return the refusal that ends the command: whatever is missing, its exit code is 5."""
    failed = failures(findings)
    if failed[0].error.finding == "offboarded":  # nothing that a person does here makes the item ready
        return RefusedError(failed[0].error.problem, where=item, remedy=failed[0].error.remedy, finding="offboarded")
    count = len(failed)
    return RefusedError(
        f"{count} of {len(findings)} findings would stop the install",
        where=item,
        remedy="do what each finding says, then run this command again; nothing was changed",
        finding="site-not-ready",
    )


def _data(finding: SetupFinding) -> dict[str, object]:
    error = finding.error
    return {
        "level": finding.level,
        "finding": error.finding,
        "where": error.where,
        "problem": error.problem,
        "remedy": error.remedy,
        "add": list(lines_to_add((finding,))),
    }
