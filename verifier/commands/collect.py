"""waybill collect"""

from pathlib import Path

from console.clock import utc_now
from console.options import command
from console.result import Result
from manifests.words.text import table
from manifests.words.time import optional_time, rfc3339
from manifests.words.units import show_count
from verifier.collecting.collect import Collected, SignalLook, collect
from verifier.commands.site_options import open_here, site_option


@command(examples=("waybill collect", "waybill collect --site /srv/waybill --json"))
@site_option
def collect_command(place: Path | None) -> Result:
    """Count what the telemetry contract in force allows, at each of its sources once.

    Run it by a timer. The counts stay in telemetry/ of the site until a report has them; nothing is sent. The first run
    reads nothing of the past: it begins at the end of each log.
    """
    site = open_here(place)
    collected = collect(site, site.disk, utc_now())
    return Result(_text(collected), _data(collected), collected.failure)


def _text(collected: Collected) -> str:
    if collected.contract is None:
        return "no telemetry contract is in force: nothing is counted"
    lines = [f"contract {collected.contract}"]
    if not collected.looks:
        lines.append("  no signal of it is counted by this command")
    rows: list[tuple[str, ...]] = [
        (f"  {look.signal}", look.kind, _rows(look), _state(look)) for look in collected.looks
    ]
    lines += [table(rows)] if rows else []
    for look in collected.looks:
        lines += [f"! {look.signal}: {note}" for note in look.notes]
    lines += [f"  {name}: withheld by site.yaml, not counted" for name in collected.withheld]
    lines += [f"  {name}: its counts were removed; the contract or site.yaml changed" for name in collected.forgotten]
    return "\n".join(lines)


def _rows(look: SignalLook) -> str:
    """Return how many rows are finished, and how many are under way until when."""
    rows = show_count(look.rows, "row") if look.rows or look.until is None else "no row yet"
    if look.until is None:
        return rows
    return f"{rows}, {look.under_way or 'none'} under way until {rfc3339(look.until)}"


def _state(look: SignalLook) -> str:
    if look.problem is not None:
        return look.problem
    dropped = ", ".join(f"{reason} {count}" for reason, count in sorted(look.dropped.items()))
    parts = ["more to read" if look.unfinished else "read", f"dropped: {dropped}" if dropped else ""]
    return ", ".join(part for part in parts if part)


def _data(collected: Collected) -> dict[str, object]:
    return {
        "contract": collected.contract,
        "signals": [
            {
                "signal": look.signal,
                "kind": look.kind,
                "rows": look.rows,
                "under_way": look.under_way,
                "until": optional_time(look.until),
                "dropped": dict(look.dropped),
                "problem": look.problem,
                "unfinished": look.unfinished,
                "notes": list(look.notes),
            }
            for look in collected.looks
        ],
        "withheld": list(collected.withheld),
        "forgotten": list(collected.forgotten),
    }
