"""What a site claims of itself, held against the world: its status, for programs and for people, and its signed report.

The world is read with the standard library and one call that verifies a signature: the link ``current``, folders, the
lines of the journal, digests by hashlib. What nobody can see there, such as a floor, the test says that caused it.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key


@dataclass(frozen=True)
class Truth:
    """What the test did to a site, and what it saw there with means of its own.

    Attributes:
        version, sequence: Of the release that runs; None and 0 for none.
        floor, mark: Sequences; None before the first.
        releases: Digest of ``release.json`` by version, as far as the test knows it.
        steps: What each component of the running release is at: ``placed`` or ``running``.
        programs: Those of the steps that only place programs; a report does not list them.
        probes: What each probe of the running release comes to.
        waiting: Items that wait; None if the test does not say.
        rollbacks: (from, to, whether automatic) of each rollback, oldest first; None if the test does not say.
    """

    site: str
    version: str | None = None
    sequence: int = 0
    floor: int | None = None
    mark: int | None = None
    root: int = 1
    policy: int = 1
    practice: bool = False
    offboarded: bool = False
    releases: Mapping[str, str] = field(default_factory=dict)
    steps: Mapping[str, str] = field(default_factory=dict)
    programs: frozenset[str] = frozenset()
    probes: Mapping[str, str] = field(default_factory=dict)
    waiting: frozenset[str] | None = None
    rollbacks: tuple[tuple[int, int, bool], ...] | None = None


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def generation_that_runs(site: Path) -> int:
    """Where the link ``current`` points; 0 for nowhere."""
    link = site / "current"
    return int(link.readlink().name) if link.is_symlink() else 0


def journal_lines(site: Path) -> list[bytes]:
    return [line for path in sorted(site.glob("journal/*.jsonl")) for line in path.read_bytes().splitlines()]


def newest_report_path(site: Path) -> Path | None:
    numbers = [int(path.name.partition(".")[0]) for path in site.glob("outbox/*.report.json")]
    return site / "outbox" / f"{max(numbers)}.report.json" if numbers else None


def root_digest(site: Path, version: int) -> str:
    """The fingerprint of a root document of the site: the digest of what is signed."""
    return sha256(base64.b64decode(json.loads((site / "trust" / f"{version}.root.json").read_bytes())["payload"]))


def check_status(site: Path, status: Mapping[str, Any], text: str, truth: Truth) -> None:
    """Check every statement of a status about what the site is."""
    runs, newest = generation_that_runs(site), newest_report_path(site)
    stated = {name: status[name] for name in ("site", "generation", "current", "version", "floor", "mark", "policy")}
    assert stated == {
        "site": truth.site,
        "generation": runs,
        "current": runs,
        "version": truth.version,
        "floor": truth.floor,
        "mark": truth.mark,
        "policy": truth.policy,
    }
    assert status["practice"] == truth.practice
    assert status["release"] == (truth.releases.get(truth.version, status["release"]) if truth.version else None)
    assert (status["state"] == "none") == (runs == 0)
    assert status["below_floor"] == (0 < truth.sequence < (truth.floor or 0))
    assert status["report"] == (int(newest.name.partition(".")[0]) if newest else 0)
    assert status["reserve"] == (site / "reserve").is_file()
    assert (status["offboarded_at"] is not None) == truth.offboarded
    assert {part["step"]: part["level"] for part in status["components"]} == truth.steps
    assert {probe["probe"]: probe["state"] for probe in status["probes"]} == truth.probes
    if truth.waiting is not None:
        assert {waiting["item"] for waiting in status["waiting"]} == truth.waiting
    _check_status_text(site, text, truth, runs)


def _check_status_text(site: Path, text: str, truth: Truth, runs: int) -> None:
    # One paragraph: problems may stand before it, and the queue after it has rows that begin with the same words.
    (paragraph,) = re.findall(r"^site .*(?:\n.+)*", text, re.MULTILINE)
    lines = dict(re.findall(r"^(site|runs|known|policy|report) +(.*)$", paragraph, re.MULTILINE))
    assert lines["site"].split()[0] == truth.site
    if truth.version is None:
        assert lines["runs"] == "nothing is installed"
    else:
        assert re.match(rf"[a-z]+ {re.escape(truth.version)}, generation {runs}, ", lines["runs"])
    mark = "nothing received" if truth.mark is None else str(truth.mark)
    assert re.fullmatch(rf"[a-z]+,? {mark}; floor {truth.floor or 'none yet'}", lines["known"])
    root = "no root is trusted" if truth.offboarded else f"root {truth.root} of "
    assert lines["policy"].startswith(f"number {truth.policy}; {root}")
    assert ("below the floor" in text) >= (0 < truth.sequence < (truth.floor or 0))
    rows = re.findall(r"^(\d+) +(\S+) +(\S+) +\S+Z *(.*)$", text.partition("\ngeneration ")[2], re.MULTILINE)
    assert [int(number) for number, _, _, here in rows if here.startswith("runs")] == ([runs] if runs else [])
    assert all(version == truth.version for _, version, _, here in rows if here.startswith("runs"))
    kept = {int(path.name) for path in (site / "generations").iterdir() if path.name.isdigit()}
    for number, _, _, here in rows:
        assert ("cleared away" in here) <= (int(number) not in kept)
        assert not (int(number) not in kept and here.startswith(("runs", "former")))


def check_report(site: Path, truth: Truth) -> dict[str, Any]:
    """Check the newest report: signature and chain, then every statement about what the site is. Returns it."""
    path = newest_report_path(site)
    assert path is not None
    report = _verified(site, path)
    chain = report["chain"]
    number = int(path.name.partition(".")[0])
    before = path.with_name(f"{number - 1}.report.json" if number > 1 else "enrolment.json")
    assert chain["seq"] == number
    if before.exists():  # the site keeps only the newest reports
        assert chain["previous"] == sha256(before.read_bytes())
    check_report_content(site, report, truth)
    return report


def check_report_content(site: Path, report: Mapping[str, Any], truth: Truth) -> None:
    """Check every statement of a report, signed or planned, about what the site is."""
    chain, trust, install = report["chain"], report["trust"], report["install"]
    lines = journal_lines(site)
    assert chain["journal"]["head"] == sha256(lines[chain["journal"]["entries"] - 1])
    assert report["identity"]["site"] == truth.site
    assert (trust.get("mark") or {}).get("sequence") == truth.mark
    assert (trust.get("floor") or {}).get("sequence") == truth.floor
    assert trust.get("practice", False) == truth.practice
    assert trust["root"]["version"] == truth.root
    assert trust.get("offboarding", {}).get("removed", False) == truth.offboarded
    if not truth.offboarded:
        assert trust["root"]["digest"] == root_digest(site, truth.root)
    assert report["policy"]["number"] == truth.policy
    _check_install(site, install, truth)
    listed = report.get("components", {}).get("listed", [])
    placed = {step: level for step, level in truth.steps.items() if step not in truth.programs}
    assert {part["step"]: part["level"] for part in listed} == placed
    assert all(part["found"] == "same" and "observed" not in part for part in listed)
    assert {probe["probe"]: probe["state"] for probe in report.get("health", [])} == truth.probes
    if truth.waiting is not None:
        assert {item["item"] for item in report.get("waiting", [])} == truth.waiting
    if truth.rollbacks is not None:
        made = [(one["from_generation"], one["to_generation"], one["automatic"]) for one in report.get("rollbacks", [])]
        assert made == list(truth.rollbacks)


def _check_install(site: Path, install: Mapping[str, Any], truth: Truth) -> None:
    running = install.get("release")
    assert (install["state"] == "none") == (running is None) == (truth.version is None)
    assert install.get("below_floor", False) == (0 < truth.sequence < (truth.floor or 0))
    if running is None:
        return
    expected = (generation_that_runs(site), truth.version, truth.sequence)
    assert (running["generation"], running["version"], running["sequence"]) == expected
    assert running["digest"] == truth.releases.get(running["version"], running["digest"])
    (own,) = [one for one in install["generations"] if one["number"] == running["generation"]]
    assert (own["version"], own["release"]) == (running["version"], running["digest"])


def _verified(site: Path, path: Path) -> dict[str, Any]:
    """The predicate of a report whose signature by the key in the site's enrolment holds."""
    enrolment = json.loads((site / "outbox" / "enrolment.json").read_bytes())
    key = load_der_public_key(base64.b64decode(json.loads(base64.b64decode(enrolment["payload"]))["key"]["public"]))
    envelope = json.loads(path.read_bytes())["dsseEnvelope"]
    kind, payload = envelope["payloadType"].encode(), base64.b64decode(envelope["payload"])
    signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)  # DSSE, protocol.md
    assert isinstance(key, EllipticCurvePublicKey)
    key.verify(base64.b64decode(envelope["signatures"][0]["sig"]), signed, ECDSA(SHA256()))
    predicate: dict[str, Any] = json.loads(payload)["predicate"]
    return predicate
