"""Judge the host's clock, the policy's windows and the dates of a release. Pure.

The effective time is the later of the host's clock and the time floor. It stops an install only if the policy says so.
"""

from datetime import UTC, datetime, timedelta

from manifests.documents.policy import Policy, Windows
from manifests.documents.release import Release
from manifests.documents.report import Clock
from manifests.words.errors import RefusedError
from manifests.words.time import parse_time

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY = timedelta(days=1)
# A clock this far beyond the proved time is more likely wrong than a site that was not updated for so long.
FAR_AHEAD = timedelta(days=400)


def effective_now(now: datetime, time_floor: datetime | None) -> datetime:
    """Return the later of the host's clock and the latest time that a confirmed release proved."""
    return max(now, time_floor) if time_floor else now


def clock_verdict(time_floor: datetime | None, now: datetime) -> Clock:
    """Compare the host's clock with the latest time that a confirmed release proved."""
    if time_floor is None:
        return "plausible"
    if now < time_floor:
        return "behind"
    return "ahead" if now > time_floor + FAR_AHEAD else "plausible"


def in_window(times: tuple[str, ...], now: datetime) -> bool:
    """Return whether ``now`` lies in one of the windows, for example ``sat 22:00-04:00 UTC``; without any, always.

    A window whose end is not after its beginning ends on the next day.
    """
    return not times or any(_inside(one, now.astimezone(UTC)) for one in times)


def _inside(window: str, now: datetime) -> bool:
    day, span, _ = window.split(" ")
    first, last = (_minutes(one) for one in span.split("-"))
    length = last - first if last > first else last - first + 24 * 60
    for back in (0, 1):
        midnight = (now - back * DAY).replace(hour=0, minute=0, second=0, microsecond=0)
        if day in ("daily", _DAYS[midnight.weekday()]):
            begins = midnight + timedelta(minutes=first)
            if begins <= now < begins + timedelta(minutes=length):
                return True
    return False


def _minutes(text: str) -> int:
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


def check_window(windows: Windows, now: datetime, reason: str | None) -> str | None:
    """Return the reason to record for an install outside every window; None inside one.

    Raises RefusedError outside, if the policy enforces its windows or no reason is given.
    """
    if in_window(windows.times, now):
        return None
    when = f"{now:%a %H:%M} UTC is outside {' and '.join(windows.times)}"
    problem, remedy = when, "install within a window, or give a reason: --outside-window REASON"
    if windows.enforce:
        problem = f"{when}, and the policy enforces its windows"
        remedy = "install within a window; approvals stay valid"
    if windows.enforce or not reason:
        raise RefusedError(problem, where="windows", remedy=remedy, finding="outside-window")
    return reason


def passed_dates(release: Release, now: datetime) -> tuple[tuple[str, str], ...]:
    """Return (finding, words) for each date of the release that has passed."""
    passed = []
    for finding, date, words in (
        ("late", release.next_expected_by, "a newer release was expected by"),
        ("support-ended", release.supported_until, "support ended on"),
    ):
        if date is not None and now >= parse_time(date) + DAY:
            passed.append((finding, f"{words} {date}"))
    return tuple(passed)


def check_dates(policy: Policy, release: Release, now: datetime, item: str) -> tuple[tuple[str, str], ...]:
    """Return the dates that have passed, as warnings. Raises RefusedError if the policy says `time: enforce`."""
    passed = () if policy.time == "ignore" else passed_dates(release, now)
    if passed and policy.time == "enforce":
        finding, words = passed[0]
        raise RefusedError(
            f"{release.version}: {words}, and the policy enforces dates (today is {now:%F})",
            where=item,
            remedy="receive a newer release, or change `time` in policy.yaml and have it approved",
            finding=finding,
        )
    return passed
