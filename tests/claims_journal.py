"""What a site says of its clock, alarms, emergency rules and queue, held against the raw lines of its journal.

Each value is computed again here from the lines and from the documents that they name, by other means than the fold.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.claims import journal_lines, sha256

FAR = timedelta(days=400)
# What makes every plan invalid that was made before.
TRUST = ("enrolled", "policy", "root", "root-replaced", "revocations")
SWITCHES = ("switch", "switch-back", "retreat")


@dataclass(frozen=True)
class Line:
    digest: str
    at: datetime
    event: Mapping[str, Any]


def moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def lines_of(site: Path) -> list[Line]:
    """The journal, oldest first; the line of which every other is the successor comes first."""
    entries = [(json.loads(raw), sha256(raw)) for raw in journal_lines(site)]
    entries.sort(key=lambda entry: entry[0]["seq"])
    assert all(after["prev"] == digest for (_, digest), (after, _) in pairwise(entries))
    return [Line(digest, moment(entry["at"]), entry["event"]) for entry, digest in entries]


def tagged(lines: Sequence[Line], *tags: str) -> list[Line]:
    return [line for line in lines if line.event["event"] in tags]


def document(site: Path, digest: str) -> dict[str, Any]:
    data = (site / "journal" / "documents" / digest.removeprefix("sha256:")).read_bytes()
    assert sha256(data) == digest
    value: dict[str, Any] = json.loads(data)
    return value


def policy_of(site: Path, lines: Sequence[Line]) -> tuple[str, dict[str, Any]]:
    digest = tagged(lines, "policy")[-1].event["digest"]
    return digest, document(site, digest)


def check_journal_claims(site: Path, status: Mapping[str, Any], text: str, now: datetime, *, late: int = 0) -> None:
    """Check what a status, for programs and as lines, says of the clock, alarms, emergency rules and the queue.

    Args:
        now: When the text was made, or up to ``late`` seconds after that.
    """
    lines = lines_of(site)
    floor, claimed = proved_time(lines)
    assert status["time_floor"] == stated(floor)
    assert status["time_claimed"] == stated(claimed)
    assert status["clock"] == clock(floor, now)
    clocks = re.findall(r"^clock +(.*)$", text, re.MULTILINE)
    expected = [] if status["clock"] == "plausible" else [f"{stated(now)} is "]
    back = times_back(lines, now)
    expected += [f"set back {times(back)}"] if back else []
    assert len(clocks) == len(expected)
    assert all(line.startswith(words) for line, words in zip(clocks, expected, strict=True)), clocks
    if status["clock"] != "plausible":
        assert ("behind" in clocks[0]) == (status["clock"] == "behind")
        assert str(stated(floor)) in clocks[0]
    assert bool(re.search(r"^time .* is claimed", text, re.MULTILINE)) == (claimed is not None)
    _check_alarms(lines, status, text)
    _check_emergency(site, lines, status, text)
    for waiting in status["waiting"]:
        if not waiting["problem"]:
            _check_waiting(site, lines, waiting)
            _check_row(waiting, text, now, late)


def check_report_trust(site: Path, report: Mapping[str, Any], now: datetime) -> None:
    """Check what a report made at ``now`` over these lines says of time, clock, alarms and emergencies."""
    trust, lines = report["trust"], lines_of(site)[: report["chain"]["journal"]["entries"]]
    floor, _ = proved_time(lines)
    assert trust.get("time_floor") == stated(floor)
    assert trust["clock"] == clock(floor, now)
    assert trust.get("clock_back", 0) == times_back(lines, now)
    alarms = [(line.event["code"], line.event.get("digest")) for line in tagged(lines, "alarm")]
    assert [(alarm["code"], alarm.get("digest")) for alarm in trust.get("alarms", [])] == alarms[-32:]
    uses = [(rule, plan) for rule, plan, _ in emergency_uses(lines)]
    assert [(use["rule"], use["plan"]) for use in report["policy"].get("emergency", [])] == uses[-16:]


def proved_time(lines: Sequence[Line]) -> tuple[datetime | None, datetime | None]:
    """The latest time that a confirmed release or a person proved, and a later one that is only claimed."""
    proved: list[datetime] = []
    claimed = None
    for line in tagged(lines, "confirmed", "time"):
        if line.event["event"] == "time":
            proved.append(moment(line.event["time"]))
            claimed = None
            continue
        proved += [moment(line.event["time_floor"])] if line.event.get("time_floor") else []
        claimed = moment(line.event["claimed"]) if line.event.get("claimed") else claimed
    return max(proved, default=None), claimed


def clock(floor: datetime | None, now: datetime) -> str:
    if floor is None:
        return "plausible"
    return "behind" if now < floor else "ahead" if now - floor > FAR else "plausible"


def times_back(lines: Sequence[Line], now: datetime) -> int:
    ats = [line.at for line in lines] + [now]
    return sum(after < before for before, after in pairwise(ats))


def times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def stated(time: datetime | None) -> str | None:
    return None if time is None else time.strftime("%Y-%m-%dT%H:%M:%SZ").zfill(20)


def _check_alarms(lines: Sequence[Line], status: Mapping[str, Any], text: str) -> None:
    alarms = [(line.event["code"], line.event.get("detail", "")) for line in tagged(lines, "alarm")]
    assert [(alarm["code"], alarm["detail"]) for alarm in status["alarms"]] == alarms
    shown = re.findall(r"^alarm +(.*)$", text, re.MULTILINE)
    assert shown == [
        f"{code}: {detail}{f' ({times(count)})' if count > 1 else ''}"
        for (code, detail), count in Counter(alarms).items()
    ]


def emergency_uses(lines: Sequence[Line]) -> list[tuple[str, str, str]]:
    """(rule, plan, digest of the policy) of each use: an approval by the rule, once for each plan."""
    uses: dict[tuple[str, str, str], None] = {}
    planned: Mapping[str, Any] = {}
    for line in tagged(lines, "planned", "approved"):
        if line.event["event"] == "planned":
            planned = line.event
        elif line.event.get("rule"):
            uses[(line.event["rule"], planned["plan"], planned["policy"])] = None
    return list(uses)


def uses_left(site: Path, lines: Sequence[Line]) -> dict[str, tuple[int, int]]:
    """By rule of the policy in force: how many uses it has, and how many are left."""
    digest, policy = policy_of(site, lines)
    since = lines.index(tagged(lines, "policy")[-1])
    installs, action = 0, ""
    for line in lines[since:]:
        action = line.event["action"] if line.event["event"] == "planned" else action
        installs += action == "install" and is_done(line, "switch")
    left = {}
    for rule in policy.get("emergency", []):
        used = sum((name, under) == (rule["name"], digest) for name, _, under in emergency_uses(lines))
        spent = installs >= rule["until_installs"]
        left[rule["name"]] = (rule["uses"], 0 if spent else max(0, rule["uses"] - used))
    return left


def _check_emergency(site: Path, lines: Sequence[Line], status: Mapping[str, Any], text: str) -> None:
    left = uses_left(site, lines)
    assert {rule["rule"]: (rule["uses"], rule["left"]) for rule in status["emergency"]} == left
    shown = dict(re.findall(r"^ +emergency rule ([^:]+): (.*)$", text, re.MULTILINE))
    assert shown == {name: f"{rest} of {uses} uses left" if rest else "spent" for name, (uses, rest) in left.items()}
    for waiting in status["waiting"]:
        for rule in waiting["emergency"]:
            assert 0 < rule["uses_left"] == left[rule["rule"]][1]


def is_done(line: Line, *acts: str) -> bool:
    event = line.event
    return (
        (event["event"], event.get("result")) == ("outcome", "done") and not event.get("step") and event["act"] in acts
    )


def last_change(lines: Sequence[Line]) -> Line:
    """The line after which a plan must have been made to be valid."""
    return [line for line in lines if line.event["event"] in TRUST or is_done(line, *SWITCHES)][-1]


def agreed_people(site: Path, lines: Sequence[Line], items: Sequence[str], since: set[str]) -> set[str]:
    """The people whose last word on the item is an approval of a plan made after one of the changes ``since``."""
    verdicts: dict[str, str] = {}
    for line in tagged(lines, "verdict"):
        if line.event["item"] not in items:
            continue
        plan = document(site, line.event["plan"])
        # A plan of several releases is another one than that of its last release.
        if plan["last_change"] in since and len(plan.get("releases", items)) == len(items):
            verdicts[line.event["person"]] = line.event["verdict"]
    return {person for person, verdict in verdicts.items() if verdict == "approve"}


def _check_waiting(site: Path, lines: Sequence[Line], waiting: Mapping[str, Any]) -> None:
    """Check who must agree, who has, and since when."""
    _, policy = policy_of(site, lines)
    needs: Counter[str] = Counter()
    for kind in waiting["kinds"]:
        for role, count in policy["rules"].get(kind, {}).items():
            needs[role] = max(needs[role], count)
    assert {role["role"]: role["need"] for role in waiting["roles"]} == dict(needs)
    change = last_change(lines)
    roles = {name: person["role"] for name, person in policy["people"].items()}

    def counted(since: set[str]) -> dict[str, int]:
        people = agreed_people(site, lines, waiting["items"], since)
        return {role: sum(roles.get(person) == role for person in people) for role in needs}

    have = {role["role"]: role["have"] for role in waiting["roles"]}
    possible = [counted({change.digest})]
    if is_done(change, "retreat", "switch-back"):
        # The approvals of an install whose trial failed may count once more.
        before = [line for line in lines[: lines.index(change)] if line.event["event"] == "planned"][-1]
        possible.append(counted({change.digest, document(site, before.event["plan"])["last_change"]}))
    assert have in possible, (have, possible)
    assert not waiting["agreed"] or all(have[role] >= need for role, need in needs.items())
    if waiting["kind"] in ("release", "rollback") and not tagged(lines, "proposed"):
        tag, pick = ("received", -1) if waiting["kind"] == "release" else ("verdict", 0)
        own = [line.at for line in tagged(lines, tag) if line.event["item"] == waiting["item"]][pick]
        assert waiting["since"] == stated(max(own, change.at))


def _check_row(waiting: Mapping[str, Any], text: str, now: datetime, late: int) -> None:
    """Check the row of the item in the table of what waits."""
    table = text[text.index("\nITEM ") :]
    name = re.escape(" ".join(waiting["items"]))
    (row,) = re.findall(rf"^{name} +{waiting['kind']} .*$", table, re.MULTILINE)
    counts = ", ".join(f"{role['role']} {role['have']} of {role['need']}" for role in waiting["roles"] if role["need"])
    assert counts in row
    assert ("agreed: " in row) == waiting["agreed"]
    ages = {age_text(int((now - moment(waiting["since"])).total_seconds()) - seconds) for seconds in range(late + 1)}
    assert ages & set(row.split()), row


def age_text(seconds: int) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{max(0, seconds)}s"
