"""What a review says will be done, held against what was done: the intents of the journal and the progress."""

from dataclasses import dataclass

from tests.place import Place
from verifier.approval.items import approvable_of
from verifier.approval.review import Review, make_review
from verifier.approval.review_input import read_review_input
from verifier.approval.review_page import _outlook
from verifier.change.driver_steps import driver_steps
from verifier.change.forecast import ForecastAct, forecast
from verifier.change.route import Route
from verifier.change.values import Change
from verifier.runtime.drivers.driver import load_driver
from verifier.site.generations import read_installed
from verifier.site.journal.events import Intent, Outcome

CLEARED = "clear away "


@dataclass(frozen=True)
class Promise:
    """What a review of ``item`` says: the acts as the journal will name them, and the lines that people read."""

    acts: tuple[tuple[str, str | None], ...]
    lines: tuple[str, ...]
    seq: int
    said: int


def promise(place: Place, item: str) -> Promise:
    site = place.open()
    asked = approvable_of(site, tuple(item.split()))
    assert isinstance(asked, Change | Route)
    hops = asked.hops if isinstance(asked, Route) else (asked,)
    running = site.state.installs.running
    source = driver_steps(site, read_installed(site, running), load_driver) if running else ()
    steps = [driver_steps(site, hop.installed, load_driver) for hop in hops]
    acts = [act for hop in forecast(site.state, hops, source, steps).acts for act in hop]
    review = make_review(read_review_input(site, asked, load_driver))
    check_only_forecast(review, acts)
    lines = review.work
    if len(hops) > 1:
        lines = tuple(line.partition(": ")[2] or line for line in lines)
    return Promise(
        acts=tuple((act.act, act.step) for act in acts), lines=lines, seq=site.state.seq, said=len(place.said)
    )


def check_only_forecast(review: Review, acts: list[ForecastAct]) -> None:
    """Check that plan, warnings and rollback section of a review name no act that the forecast does not have."""
    begun = {(act.act, act.step) for act in acts}
    assert review.back is not None
    back = review.action == "rollback"
    for line in review.back.steps:
        name = line.partition(":")[0]
        assert ("undo" if back and ": undone by " in line else "migrate", name) in begun, line
    for line in review.back.backups:
        assert ("restore" if back else "backup", line.partition(":")[0]) in begun, line
    facts = dict(_outlook(review))
    begins = {act.act for act in acts}
    parts = begins & {"backup", "migrate", "undo", "restore"}
    assert bool(review.back.takes_seconds) == bool(parts), "the estimate is of acts, and each act has one"
    assert ("backups and migrations" in facts["downtime"]) == (bool(parts) and not back)
    assert review.host.rooms is not None
    named = [place for room in review.host.rooms for place in room.places if place.startswith("backups/")]
    assert bool(named) == ("backup" in begins), "space is named for the backups that are made"
    for _, name, text in review.findings:
        if name == "service-stops":
            assert ("saved" in text) == ("backup" in begins), text


def check_kept(place: Place, promised: Promise) -> None:
    """Check a transaction that ended well: every act that was promised, in its order, and no other."""
    events = [entry.record.event for entry in place.open().entries[promised.seq :]]
    begun = [(event.act, event.step) for event in events if isinstance(event, Intent)]
    assert begun == list(promised.acts)
    assert _read(place, promised) == list(promised.lines)


def check_begun(place: Place, promised: Promise) -> None:
    """Check a transaction that failed: as promised up to the act that failed, and then only acts that go back."""
    events = [entry.record.event for entry in place.open().entries[promised.seq :]]
    begun: list[tuple[str, str | None]] = []
    for event in events:
        if isinstance(event, Outcome) and event.result == "failed":
            break
        if isinstance(event, Intent):
            begun.append((event.act, event.step))
    assert begun == list(promised.acts[: len(begun)])


def _read(place: Place, promised: Promise) -> list[str]:
    """Return the lines of the progress that are about an act: those that the review has, or could have had."""
    cleared = f"once it is confirmed, {CLEARED}"
    starts = ("back up ", "try to restore ", "migrate, ", "undo step ", "restore ", "switch to ", cleared)
    steps = {line.partition(": ")[0] for line in promised.lines}
    progress = place.said[promised.said :]
    # The review says when; the progress says it then.
    progress = [f"once it is confirmed, {line}" if line.startswith(CLEARED) else line for line in progress]
    return [line for line in progress if line.startswith(starts) or (": " in line and line.partition(": ")[0] in steps)]
