"""Looks at the host's clock: how far it is from the clocks of other hosts, and whether it is behind a known time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from manifests.words.time import rfc3339
from manifests.words.units import show_count
from verifier.runtime.preflight.result import Observation, unseen
from verifier.runtime.preflight.side_by_side import side_by_side

SECONDS = 6.0


@dataclass(frozen=True)
class ClockReading:
    """What another clock said, less what this host's said then; or why it said nothing."""

    ahead_seconds: float | None
    why: str = ""


# Asks one other host for its time; never raises.
ReadClock = Callable[[], ClockReading]


def reading(date: datetime | None, now: datetime, what: str) -> ClockReading:
    """Return how far another clock is from this host's; ``date`` is None where the answer has no time."""
    if date is None:
        return ClockReading(None, f"{what}: its answer has no header Date")
    return ClockReading((date - now).total_seconds())


def look_at_clock(
    clocks: Mapping[str, ReadClock], need_seconds: int, now: datetime, floor: datetime | None
) -> Observation:
    """Ask every clock at once, and compare.

    Args:
        clocks: Questions by the name of who is asked.
        floor: A time that is known to have passed.
    """
    if floor is not None and now < floor:
        text = f"{rfc3339(now)}, behind {rfc3339(floor)}, which a confirmed release proves"
        return Observation(met=False, text=text, remedy="set the clock of the host")
    if not clocks:
        why = "site.yaml names no registry and no https endpoint whose clock could be asked"
        return unseen(why, "name one under `endpoints:` or `drivers.registry` in site.yaml")
    readings = side_by_side(clocks, SECONDS)
    silent = [one.why for one in readings.values() if one.ahead_seconds is None]
    silent += [f"{name}: no answer within {SECONDS:g} s" for name in clocks if name not in readings]
    offsets = {name: one.ahead_seconds for name, one in readings.items() if one.ahead_seconds is not None}
    if not offsets:
        return unseen(
            f"no clock answered: {'; '.join(silent)}", "start one of them, or correct its address in site.yaml"
        )
    text = f"{_widest(offsets)}; {show_count(len(offsets), 'clock')} answered"
    text += f", {len(silent)} did not: {'; '.join(silent)}" if silent else ""
    met = all(abs(offset) <= need_seconds for offset in offsets.values())
    return Observation(met=met, text=text, remedy="set the clock of the host, and start its time service")


def _widest(offsets: Mapping[str, float]) -> str:
    name = max(offsets, key=lambda name: abs(offsets[name]))
    # A header Date has whole seconds.
    seconds = int(abs(offsets[name]))
    return f"{seconds} s {'behind' if offsets[name] > 0 else 'ahead of'} {name}"
