"""waybill report"""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import click
import msgspec

from console.clock import utc_now
from console.options import command, passphrase_option, path_option
from console.output import say
from console.result import Result
from manifests.documents.report_text import report_lines
from manifests.documents.signed_report import SignedReport
from manifests.transport.armour import armour_report
from manifests.transport.telephone import telephone_line
from manifests.trust.private_keys import Signer
from manifests.words.errors import RefusedError, UntrustedError, UsageError, WaybillError
from verifier.approval.items import record_export
from verifier.change.release_papers import contract_in_force
from verifier.commands.change_options import signer_of
from verifier.commands.site_options import distrust, hold_here, look_here, open_here, site_option
from verifier.reporting.field_sources import explain
from verifier.reporting.qr import as_blocks, as_png, draw, new_pictures
from verifier.reporting.report_write import NextReport, export_reports, plan_next_report, write_report
from verifier.reporting.telemetry_export import BY_FILE, export_telemetry, telemetry_lines
from verifier.site.folder import Site
from verifier.site.outbox import newest_report, read_report, report_history, report_path
from verifier.site.outbox_damage import outbox_attention, outbox_damage, outbox_data, outbox_lines
from verifier.site.telemetry_files import read_telemetry
from verifier.site.unread import attempt
from verifier.site.vendor_access import check_served


@command(examples=("waybill report", "waybill report --new --out /media/usb", "waybill report --line"))
@click.option("--new", is_flag=True, help="Write and sign a new report first.")
@click.option("--preview", is_flag=True, help="Show what a new report would say; nothing is signed or numbered.")
@click.option("--why", is_flag=True, help="Show the line of the contract that allows each field.")
@path_option("--out", metavar="DIR", help="Copy the newest reports to DIR.")
@click.option("--text", is_flag=True, help="Print the report as armoured text for an e-mail.")
@click.option("--line", is_flag=True, help="Print forty letters to read out by telephone.")
@click.option("--qr", is_flag=True, help="Draw the report as QR symbols in the terminal.")
@path_option("--qr-out", metavar="FILE.png", help="Draw the report as QR symbols in PNG files.")
@click.option("--key", "keys", multiple=True, metavar="URI",
              help="Key of a person who approves the export, if the policy requires it. Repeatable.")  # fmt: skip
@passphrase_option
@site_option
def report_command(
    place: Path | None,
    new: bool,
    preview: bool,
    why: bool,
    out: Path | None,
    text: bool,
    line: bool,
    qr: bool,
    qr_out: Path | None,
    keys: tuple[str, ...],
    passphrase_fd: int | None,
) -> Result:
    """Print the last report of this site, write a new one, or export it.

    A report is exported as files, text, QR symbols or by telephone: one of --out, --text, --line, --qr, --qr-out.
    """
    given = {"text": text, "line": line, "qr": qr, "qr-out": qr_out, "out": out}
    ways = [way for way, value in given.items() if value]
    if len(ways) > 1:
        raise UsageError(f"--{ways[0]} and --{ways[1]}: one way at a time", where="report")
    if qr_out is not None and qr_out.suffix.lower() != ".png":
        remedy = f"--qr-out {shlex.quote(str(qr_out.with_suffix('.png')))}"
        raise UsageError(f"{qr_out.name} does not end in .png", where="--qr-out", remedy=remedy)
    if (preview or why) and (new or ways or (preview and why)):
        raise UsageError("--preview and --why neither write nor export", where="report")
    if preview or why:
        site = open_here(place)
        return _preview(site) if preview else _why(site)
    if not new and not ways:
        site = look_here(place)
        doubt = distrust(site)
        if doubt is None:
            return _with_damage(site, _shown(site, _signed(site)))
        newest = newest_report(site)
        if newest is None:
            raise doubt
        return _shown(site, newest, doubt)
    signers = tuple(signer_of(uri, passphrase_fd) for uri in keys)
    with hold_here(place, "report") as site:
        result = _export(site, signers, new=new, way=ways[0] if ways else "", target=out or qr_out)
        return _with_damage(site, result)


def _with_damage(site: Site, result: Result) -> Result:
    """Return the result with what is damaged in the outbox; a text that is a report itself stays as it is."""
    damage = outbox_damage(site)
    if not damage:
        return result
    text = result.text if result.exact else "\n".join([result.text, "", *outbox_lines(damage)])
    data = {**result.data, "outbox": outbox_data(damage)}
    return replace(result, text=text, data=data, error=result.error or outbox_attention(damage))


def _export(site: Site, signers: tuple[Signer, ...], *, new: bool, way: str, target: Path | None) -> Result:
    if new or site.state.reports.head is None:
        write_report(site, site.disk, utc_now())
    result = _shown(site, _signed(site))
    head = site.state.reports.head
    if not way or head is None:
        return result
    if way == "out" and target is not None:
        return _copy(site, target, result, signers)
    signed = read_report(site, site.state.reports.seq, head)
    raw = signed.raw
    if signed.report.chain.telemetry is not None:
        say(BY_FILE)
    if way == "text":
        shown = armour_report(raw).rstrip("\n")
        record_export(site, signers, "as text")
        return Result(shown, {**result.data, "text": shown}, exact=True)
    if way == "line":
        shown = telephone_line(site.state.site_key.keyid, site.state.reports.seq, head)
        record_export(site, signers, "as a telephone line")
        text = f"{shown}\n\nreport {site.state.reports.seq}; it proves nothing until support has the report itself"
        return Result(text, {**result.data, "line": shown})
    return _draw(site, raw, result, signers, target)


def _draw(site: Site, raw: bytes, result: Result, signers: tuple[Signer, ...], target: Path | None) -> Result:
    symbols = draw(raw)
    names = new_pictures(target, len(symbols)) if target else ()
    record_export(site, signers, f"as {len(symbols)} QR symbols")
    if target is None:
        blocks = [f"{as_blocks(one)}\nsymbol {i} of {len(symbols)}" for i, one in enumerate(symbols, 1)]
        return Result("\n\n".join(blocks), {**result.data, "symbols": len(symbols)}, exact=True)
    for name, symbol in zip(names, symbols, strict=True):
        site.disk.write(name, as_png(symbol))
    shown = [str(one) for one in names]
    text = "\n".join([result.text, "", "drawn:", *(f"  {name}" for name in shown)])
    return Result(text, {**result.data, "symbols": len(symbols), "pictures": shown})


def _copy(site: Site, target: Path, result: Result, signers: tuple[Signer, ...]) -> Result:
    copied = export_reports(site, site.disk, target, most=report_history(site), signers=signers)
    telemetry, problems = export_telemetry(site, site.disk, copied, most=report_history(site))
    names = [str(one) for one in (*copied, *telemetry)]
    lines = [result.text, "", "exported:", *(f"  {name}" for name in names), *(f"! {problem}" for problem in problems)]
    return Result("\n".join(lines), {**result.data, "copied": names, "not_copied": list(problems)})


def _shown(site: Site, signed: SignedReport, broken: UntrustedError | None = None) -> Result:
    """Return a report; ``broken`` if the journal cannot prove that it is the last one."""
    report, lines = signed.report, []
    path = report_path(site, report.chain.seq)
    data = {"report": msgspec.to_builtins(report), "digest": signed.digest, "file": str(path)}
    if broken is not None:
        data["broken"] = broken.problem
        lines = [
            f"! {broken.where}: {broken.finding}",
            "  the journal does not prove that this is the last report; the signature of this site's key is valid",
            "",
        ]
    lines += [
        f"report {report.chain.seq} of {report.identity.site}",
        *(line if line.startswith("! ") else f"  {line}" for line in report_lines(report)),
        f"  digest     {signed.digest}",
        f"  file       {path}",
        *(line if line.startswith("! ") else f"  {line}" for line in telemetry_lines(site, report)),
    ]
    return Result("\n".join(lines), data, broken)


def _signed(site: Site) -> SignedReport:
    state = site.state
    if state.reports.head is None:
        raise RefusedError(
            "this site has not reported yet", where=str(site.path), remedy="waybill report --new", finding="no-report"
        )
    return read_report(site, state.reports.seq, state.reports.head)


def _why(site: Site) -> Result:
    if site.state.reports.head is None:
        planned = _planned(site)
        return Result(*explain(planned.report, *contract_in_force(site), planned.telemetry.telemetry))
    report, telemetry, failures = _signed(site).report, None, list[WaybillError]()
    if (blob := report.chain.telemetry) is not None:
        telemetry = attempt(lambda: read_telemetry(site, report.chain.seq, blob), failures)
    text, data = explain(report, *contract_in_force(site), telemetry)
    lines = [text, *(f"! telemetry: {failure.problem}" for failure in failures)]
    return Result("\n".join(lines), data)


def _planned(site: Site) -> NextReport:
    """Return the report that would be written now."""
    if site.state.offboarding is not None and site.state.offboarding.final is not None:
        check_served(site.state)
    return plan_next_report(site, utc_now(), cause="requested")


def _preview(site: Site) -> Result:
    planned = _planned(site)
    report, core, telemetry = planned.report, planned.core, planned.telemetry
    text = json.dumps(json.loads(core), indent=2, ensure_ascii=False)
    text += f"\n\nnot signed: {len(core)} bytes would be, as report {report.chain.seq}"
    data = {"report": msgspec.to_builtins(report), "signed": False, "bytes": len(core), "telemetry": None}
    if telemetry.raw:
        text += f"\n\nits telemetry, {len(telemetry.raw)} bytes in a file of its own:\n\n"
        text += json.dumps(json.loads(telemetry.raw), indent=2, ensure_ascii=False)
        data |= {"telemetry": json.loads(telemetry.raw), "telemetry_bytes": len(telemetry.raw)}
    return Result(text, data, exact=True)
