"""The command line of support: `waybill fleet …` acts on the ledger."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fleet.consign_cli import consign_command
from fleet.ledger_cli import fleet_option, pin, root_option, with_ledger
from fleet.offboard_cli import ending_data, ending_text, offboard_command
from fleet.resolve_cli import list_command, resolve_command
from manifests.console import Result, rfc3339, table, utc_now, verb
from manifests.errors import AttentionError, HostError, UsageError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from fleet.enrol import Enrolled
    from fleet.outcome import Imported
    from fleet.spoken import Heard
    from fleet.views import Sent, SitePage, SiteRow
    from manifests.report import Report


@click.group("fleet", help="Support's ledger: which site runs what.")
def fleet_group() -> None:
    pass


@verb(name="enroll", help="Take in the site of ENROLMENT. In an empty folder this makes the ledger.")
@click.argument("enrolment", type=click.Path(path_type=Path))
@click.option("--fingerprint", metavar="WORDS", help="The site key's fingerprint as the customer told it.")
@root_option
@fleet_option
def enroll_command(enrolment: Path, fingerprint: str | None, root: Path | None, place: str | None) -> Result:
    from manifests.enrolment import MAX_ENROLMENT, verify_enrolment
    from manifests.fingerprint import parse_fingerprint
    from manifests.keys import read_capped

    typed = None if fingerprint is None else parse_fingerprint(fingerprint)
    signed = verify_enrolment(read_capped(enrolment, MAX_ENROLMENT), str(enrolment))

    def work(engine: "Engine") -> Result:
        from fleet.enrol import enroll

        pin(engine, root)
        done = enroll(engine, signed, utc_now(), fingerprint=typed)
        found = signed.enrolment
        lines = [
            f"{'enrolled' if done.new else 'already enrolled'}: {found.site}{' (practice)' if found.practice else ''}"
            if done.renews is None
            else f"noted: {found.site} has a new key, and why: {found.renews.reason if found.renews else '-'}"
        ]
        lines += [f"site key   {signed.groups}", f"           {signed.words}"]
        if typed is None:
            lines.append("           nobody compared this with the customer: ask them to read it to you")
        if done.pinned:
            from manifests.fingerprint import as_groups

            lines.append(f"root {found.root.version}     {as_groups(found.root.digest)}")
            lines.append("           taken from this enrolment: compare it with your own root document")
        data = {
            "site": found.site,
            "new": done.new,
            "key": found.key.keyid,
            "fingerprint": {"groups": signed.groups, "words": signed.words},
            "compared": typed is not None,
            "practice": found.practice,
            "root": {"version": found.root.version, "digest": found.root.digest, "pinned_here": done.pinned},
            "renews": done.renews,
            "enrolment": signed.digest,
        }
        if done.again.counts:
            lines += ["", _told(done.again)]
            data["quarantine"] = _imported_data(done.again)
        return Result("\n".join(lines), data, _renewal(done) or _attention(done.again))

    return with_ledger(place, work, create=True)


def _renewal(done: "Enrolled") -> AttentionError | None:
    """Both keys stand until a person has spoken with the customer."""
    if done.renews is None:
        return None
    site = done.signed.enrolment.site
    return AttentionError(
        f"{site} asks for a new key in the place of {done.renews[:16]}, which did not sign that",
        remedy="ask the customer by another way, compare the fingerprint, then: "
        f"waybill fleet resolve {site} --accept {done.signed.digest[:19]} --reason TEXT",
        finding="renewal-waits",
    )


@verb(
    name="import",
    help="Take in what came back: reports as files, armoured text or pictures of QR symbols, and bundles for the "
    "releases that reports name.",
)
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--line", "spoken", multiple=True, metavar="LETTERS", help="Forty letters that a site said by telephone.")
@root_option
@fleet_option
def import_command(paths: tuple[Path, ...], spoken: tuple[str, ...], root: Path | None, place: str | None) -> Result:
    if not paths and not spoken:
        raise UsageError("nothing is named", where="PATHS", remedy="name files and folders, or --line LETTERS")

    def work(engine: "Engine") -> Result:
        from fleet.intake import import_paths
        from fleet.spoken import hear

        for path in paths:
            if not path.exists():
                raise HostError("no such file or folder", where=str(path))
        pin(engine, root)
        heard = [hear(engine, one, utc_now()) for one in spoken]
        done = import_paths(engine, paths, utc_now())
        lines = [_heard(one) for one in heard]
        text = "\n".join([*lines, *([_told(done)] if paths else [])])
        data = {**_imported_data(done), "lines": [asdict(one) for one in heard]}
        return Result(text, data, _attention(done) or _contradicted(heard))

    return with_ledger(place, work)


def _heard(one: "Heard") -> str:
    said = f"{one.site}: report {one.seq} is sha256:{one.digest[:12]}…, by telephone"
    return {
        "claimed": f"{said}; noted, and proven by nothing until that report has come",
        "proven": f"{said}; that report is here",
        "contradicted": f"alarm {said}; the report {one.seq} that is here is another one",
    }[one.standing]


def _contradicted(heard: "list[Heard]") -> AttentionError | None:
    wrong = [one.site for one in heard if one.standing == "contradicted"]
    if not wrong:
        return None
    return AttentionError(
        f"{wrong[0]} says another digest than its report has",
        remedy="ask who spoke; two histories under one key show as a fork once both reports are here",
        finding="line-contradicted",
    )


def _attention(done: "Imported") -> AttentionError | None:
    """Done, but something needs a person."""
    parts = []
    for word, count in (
        ("quarantined", done.counts.get("quarantined", 0)),
        ("unreadable", done.counts.get("unreadable", 0)),
    ):
        if count:
            parts.append(f"{count} {'file' if count == 1 else 'files'} {word}")
    if done.alarms:
        parts.append(f"{len(done.alarms)} {'site' if len(done.alarms) == 1 else 'sites'} with an alarm")
    if not parts:
        return None
    remedy = f"waybill fleet show {done.alarms[0]}" if done.alarms else "the reasons are above; the bytes are kept"
    return AttentionError(", ".join(parts), remedy=remedy, finding="import-attention")


def _told(done: "Imported") -> str:
    lines = []
    for outcome in done.outcomes:
        if outcome.status in ("release", "quarantined", "unreadable") or (
            outcome.status == "skipped" and outcome.finding
        ):
            lines.append(f"{outcome.status}: {outcome.name}: {outcome.text}")
            if outcome.hint:
                lines.append(f"  {outcome.hint}")
    for site, news in sorted(done.sites.items())[:200]:
        if news.new:
            lines.append(f"{site}: {_reports(news.new)}")
        for seq, finding in news.findings[:20]:
            lines.append(f"  {'alarm' if finding.alarm else 'note'} {finding.finding}, report {seq}: {finding.text}")
    if len(done.sites) > 200:
        lines.append(f"… and {len(done.sites) - 200} more sites")
    words = {
        "release": "releases",
        "report": "new reports",
        "known": "known already",
        "quarantined": "quarantined",
        "unreadable": "unreadable",
        "skipped": "not ours",
    }
    counted = [f"{done.counts[status]} {word}" for status, word in words.items() if status in done.counts]
    lines.append(", ".join(counted) or "nothing found")
    return "\n".join(lines)


def _reports(numbers: list[int]) -> str:
    numbers = sorted(numbers)
    if len(numbers) == 1:
        return f"report {numbers[0]}"
    if numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"reports {numbers[0]} to {numbers[-1]}"
    shown = ", ".join(str(one) for one in numbers[:12])
    return f"reports {shown}{' …' if len(numbers) > 12 else ''}"


def _imported_data(done: "Imported") -> dict[str, Any]:
    return {
        "counts": dict(done.counts),
        "files": [
            {"name": one.name, "status": one.status, "text": one.text, "finding": one.finding, "hint": one.hint}
            for one in done.outcomes
        ],
        "sites": {
            site: {
                "new": sorted(news.new),
                "known": news.known,
                "findings": [
                    {"report": seq, "finding": one.finding, "alarm": one.alarm, "text": one.text}
                    for seq, one in news.findings
                ],
            }
            for site, news in sorted(done.sites.items())
        },
    }


SITE_COLUMNS = (
    "customer",
    "product",
    "environment",
    "site",
    "release",
    "channel",
    "level",
    "config",
    "verifier",
    "root",
    "age",
    "at most",
    "notes",
)


@verb(
    name="sites",
    help="Every enrolled site: what it runs, by its newest report, how old that is by the site's clock, and how old at "
    "most by the challenge that it echoes.",
)
@fleet_option
def sites_command(place: str | None) -> Result:
    def work(engine: "Engine") -> Result:
        from fleet.views import count_quarantined, list_sites, shown_age, shown_proof

        now = utc_now()
        # Only --json shows every image; a list for people does not look into ten thousand reports.
        rows = list_sites(engine, images=bool(click.get_current_context().params.get("as_json")))
        shown: list[tuple[str, ...]] = [
            (
                row.customer,
                row.product,
                row.environment,
                row.name,
                row.shown_release,
                row.channel,
                row.level or "-",
                "-" if row.config_version is None else str(row.config_version),
                row.verifier or "-",
                "-" if row.root_version is None else str(row.root_version),
                shown_age(row, now),
                shown_proof(row, now),
                ", ".join(row.notes),
            )
            for row in rows
        ]
        waiting = count_quarantined(engine)
        text = table(shown, SITE_COLUMNS) if rows else "no site is enrolled"
        if waiting:
            text += f"\n\n{waiting} {'file lies' if waiting == 1 else 'files lie'} in quarantine"
        data = {
            "as_of": rfc3339(now),
            "sites": [_row_data(row) for row in rows],
            "quarantined": waiting,
        }
        return Result(text, data)

    return with_ledger(place, work)


def _row_data(row: "SiteRow") -> dict[str, Any]:
    return {
        "customer": row.customer,
        "product": row.product,
        "environment": row.environment,
        "site": row.site,
        "name": row.name,
        "enrolled_at": row.enrolled_at,
        "key_compared": row.compared,
        "practice": row.practice,
        "report_every_seconds": row.report_every_seconds,
        "report": row.seq or None,
        "as_of": row.as_of,
        "not_before": row.not_before,
        "received_at": row.received_at,
        "release": None
        if row.version is None
        else {"version": row.version, "digest": row.release, "state": row.state, "known": row.known},
        "channel": row.channel,
        "level": row.level,
        "components": {"running": row.running, "all": row.parts},
        "images": row.images,
        "config_schema": row.config_version,
        "verifier": row.verifier,
        "root": row.root_version,
        "missing_reports": row.missing,
        "forked_at": row.forked_at,
        "alarms": row.alarms,
        "notes": list(row.notes),
    }


@verb(name="show", help="One site: what it runs, what waits there, and the story that its reports tell.")
@click.argument("site")
@fleet_option
def show_command(site: str, place: str | None) -> Result:
    def work(engine: "Engine") -> Result:
        import msgspec

        from fleet.offboard import ending_of
        from fleet.views import images_of, show_site

        page = show_site(engine, site)
        ending = ending_of(engine, page.row)
        data = {
            "site": {**_row_data(page.row), "images": images_of(page.report) if page.report else {}},
            "key": page.enrolment.enrolment.key.keyid,
            "fingerprint": {"groups": page.enrolment.groups, "words": page.enrolment.words},
            "report": msgspec.to_builtins(page.report) if page.report else None,
            "lines": [asdict(one) for one in page.spoken],
            "consignments": [asdict(one) for one in page.sent],
            "ending": ending_data(ending) if ending else None,
            "gaps": [list(gap) for gap in page.gaps],
            "history": [msgspec.to_builtins(one) for one in page.history],
        }
        text = _page(page) + (f"\n\n{ending_text(ending)}" if ending else "")
        return Result(text, data)

    return with_ledger(place, work)


def _page(page: "SitePage") -> str:
    from fleet.views import images_of, shown_age
    from manifests.report_text import answered, heeded, left_out

    row = page.row
    lines = [f"{row.site}{' (practice)' if row.practice else ''}"]
    if page.report is not None:
        lines += [f"! {one}" for one in heeded(page.report)]
    lines.append("")
    fields = [
        ("key", page.enrolment.groups + ("" if row.compared else "  (nobody compared it)")),
        ("enrolled", row.enrolled_at),
        ("runs", row.shown_release + (f", {row.level}" if row.level else "")),
        ("as of", f"{row.as_of or '-'} ({shown_age(row, utc_now())}), report {row.seq}" if row.as_of else "-"),
        *([("proven", _interval(row, page))] if row.received_at else []),
    ]
    report = page.report
    if report is not None:
        fields += [
            ("release", row.release or "-"),
            ("channel", row.channel + _floor(report)),
            ("config", f"schema {row.config_version}" if row.config_version is not None else "-"),
            ("root", f"{report.trust.root.version}  {report.trust.root.digest}"),
            ("verifier", report.verifier.version),
            *((f"image {name}", digest) for name, digest in images_of(report).items()),
            *((f"probe {one.probe}", one.state) for one in report.health),
            *(
                (f"waits {one.item}", ", ".join(f"{r.role} {r.have} of {r.need}" for r in one.roles) or one.kind)
                for one in report.waiting
            ),
            *((f"answer {one.consignment}", answered(one)) for one in report.requests),
            *(("left out", left_out(one)) for one in report.dropped),
        ]
    fields += [
        (
            "telephone",
            f"report {one.seq} is sha256:{one.digest[:12]}…, said {one.heard_at}: "
            f"{'proves nothing yet' if one.standing == 'claimed' else one.standing}",
        )
        for one in page.spoken[-3:]
    ]
    fields += [(f"consigned {one.number}", _sent(one)) for one in page.sent[-3:]]
    if row.notes:
        fields.append(("notes", ", ".join(row.notes)))
    width = max(len(name) for name, _ in fields)
    lines += [f"{name.ljust(width)}  {value}" for name, value in fields]
    lines += ["", "by its reports:"]
    shown: list[tuple[str, ...]] = [
        (str(one.first) if one.first == one.last else f"{one.first}-{one.last}", one.at or "-", one.kind, one.text)
        for one in page.history
    ]
    lines.append(table(shown, ("report", "site's clock", "what", "")) if shown else "nothing was reported yet")
    return "\n".join(lines)


def _floor(report: "Report") -> str:
    floor = report.trust.floor
    below = "; what runs lies below it" if report.install.below_floor else ""
    return f", floor {floor.sequence}{below}" if floor else ""


def _interval(row: "SiteRow", page: "SitePage") -> str:
    """Between which two moments of home's own clock the newest report was signed."""
    if row.not_before is None:
        return f"signed before {row.received_at}, when it came in; since when, no challenge says"
    asked = page.report.chain.challenge if page.report else None
    number = next((one.number for one in page.sent if one.challenge == asked), None)
    of = "the challenge that it echoes" if number is None else f"the challenge of consignment {number}"
    return f"signed between {row.not_before} ({of}) and {row.received_at} (when it came in)"


def _sent(one: "Sent") -> str:
    where = f"on {one.medium} since {one.written_at}" if one.written_at else "signed, and on no medium that is known of"
    answer = f"report {one.answered} answers it" if one.answered else "no report answers it yet"
    return f"{where}; {answer}"


fleet_group.add_command(enroll_command)
fleet_group.add_command(import_command)
fleet_group.add_command(sites_command)
fleet_group.add_command(show_command)
fleet_group.add_command(consign_command)
fleet_group.add_command(resolve_command)
fleet_group.add_command(list_command)
fleet_group.add_command(offboard_command)
