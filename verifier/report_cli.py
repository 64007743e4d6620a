"""The command line of the report: print it, make a new one, look at what it would say, hand it out."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from manifests.console import Result, utc_now, verb
from manifests.errors import RefusedError, UsageError

if TYPE_CHECKING:
    from manifests.report import Report, SignedReport
    from verifier.site import Site


@verb(help="Print the last report of this site; make a new one; hand the newest ones out.")
@click.option("--site", "place", type=click.Path(path_type=Path), metavar="DIR", help="The site's folder.")
@click.option("--new", is_flag=True, help="Write and sign a new report first.")
@click.option("--preview", is_flag=True, help="Show what a new report would say; nothing is signed or numbered.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Copy the newest reports to DIR.")
def report_command(place: Path | None, new: bool, preview: bool, out: Path | None) -> Result:
    from verifier.fsops import Disk
    from verifier.host import this_host
    from verifier.site import find_site, hold_site, open_site

    if preview and (new or out is not None):
        raise UsageError("--preview neither writes nor hands out", where="--preview")
    path = find_site(place, os.environ, Path.cwd())
    if preview:
        return _preview(open_site(path, Disk(), this_host()))
    if not new and out is None:
        return _last(open_site(path, Disk(), this_host()))
    with hold_site(path, Disk(), this_host(), "report") as site:
        return _write(site, new=new, out=out)


def _write(site: "Site", *, new: bool, out: Path | None) -> Result:
    from verifier.report import export_reports, write_report

    if new or site.state.report_head is None:
        write_report(site, site.disk, utc_now())
    result = _last(site)
    if out is None:
        return result
    copied = export_reports(site, site.disk, out, most=_history(site))
    names = [str(one) for one in copied]
    text = "\n".join([result.text, "", "handed out:", *(f"  {name}" for name in names)])
    return Result(text, {**result.data, "copied": names})


def _history(site: "Site") -> int:
    """How many reports are handed out again until they are acknowledged."""
    from verifier.crew import installed_of

    running = site.state.running
    return 12 if running is None else installed_of(site, running).settings.report.history


def _last(site: "Site") -> Result:
    from verifier.report import read_report, report_path

    state = site.state
    if state.report_head is None:
        raise RefusedError(
            "this site has not reported yet", where=str(site.path), remedy="waybill report --new", finding="no-report"
        )
    signed = read_report(site, state.report_seq, state.report_head)
    path = report_path(site, state.report_seq)
    return Result(_shown(signed, path), {**_data(signed.report), "digest": signed.digest, "file": str(path)})


def _preview(site: "Site") -> Result:
    from manifests.report import encode_report
    from verifier.report import observe_site, plan_report, read_former

    observed = observe_site(site)
    report = plan_report(site.state, observed, read_former(site), cause="requested", now=utc_now())
    core = encode_report(report, observed.enrolment)
    text = json.dumps(json.loads(core), indent=2, ensure_ascii=False)
    return Result(
        f"{text}\n\nnot signed: {len(core)} bytes would be, as report {report.chain.seq}",
        {**_data(report), "signed": False, "bytes": len(core)},
    )


def _data(report: "Report") -> dict[str, Any]:
    return {"report": msgspec.to_builtins(report)}


def _shown(signed: "SignedReport", path: Path) -> str:
    report = signed.report
    release = report.install.release
    runs = "nothing" if release is None else f"{release.product} {release.version}, {report.install.state}"
    lines = [
        f"report {report.chain.seq} of {report.identity.site}",
        f"  made at    {report.chain.made_at}, {report.chain.cause.replace('-', ' ')}",
        f"  installed  {runs}",
    ]
    for one in report.components.listed:
        seen = one.level if one.found == "same" else one.found
        lines.append(f"  {one.kind:<9}  {one.name}: {seen}, {one.observed or one.expected}")
    lines += [f"  probe      {one.probe}: {one.state}" for one in report.health]
    for item in report.waiting:
        lines.append(f"  waits      {item.item}, since report {item.since_seq}")
    lines += [f"  digest     {signed.digest}", f"  file       {path}"]
    return "\n".join(lines)
