"""Handlers on the command line, from `release.yaml` to support: built, asked for, run, reported, imported."""

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.handling import USER
from tests.shop_site import enroll_shop
from tests.waybill import Done, waybill
from verifier.runtime.program_files import this_platform

RELEASE = """\
waybill: 1
product: shop
version: "0.1.0"
channel: stable
sequence: 1
issued_at: "2026-01-01T00:00:00Z"
audience: {everyone: true}
needs: {verifier: "0.1", trust_root: 1, from: [], fresh: true}
floor: 1
files:
  - {name: service, from: service/}
programs:
  - {name: shop-admin, files: {PLATFORM: admin.sh}}
handlers:
  - name: HANDLER
    does: counts the jobs that wait in one queue
    source: admin.sh
    run: [shop-admin, queue-depth, "{queue}"]
    parameters: {queue: {enum: [intake, archive]}}
    may: [read the queue table]
    risk: read-only
    repeatable: true
    limits: {time: 20s, memory: 128MiB, output: 2KiB}
    returns: queue_depth
contract: contract.yaml
rollback: rollback.yaml
install:
  - {step: service, driver: files, files: [service]}
probes:
  - {name: running, step: service}
trial: {at_most: 20s, confirm: probes}
"""
CONTRACT = """\
waybill: 1
contract: shop-telemetry
version: 1
purpose: to help
budget: {telemetry: 256KiB, when_full: drop and count}
keep: {site: 90d, vendor: 400d}
signals:
  - name: install_state
    kind: deployment-state
    fields: [identity, chain, trust, policy, install, components, config, waiting, approvals, health, rollbacks,
             requests, dropped, verifier]
    why: inventory
  - name: queue_depth
    kind: command-result
    from: {handler: queue-depth}
    fields: {jobs: {integer: [0, 1000]}, queue: {enum: [intake, archive]}}
    why: waiting jobs
  - name: resources
    kind: command-result
    from: {handler: resource-summary}
    fields: {FIELD: {integer: [0, 1000000000]}}
    why: space
"""
REACHED = """\
  - name: reached
    kind: command-result
    from: {handler: connectivity}
    fields: {endpoint: {enum: [api, store]}, result: {enum: [reachable, refused, timed-out, failed]}}
    why: which of the services answers
"""
ADMIN = """\
#!/bin/sh
echo "connected to the database with password hunter2" >&2
echo '{"jobs": 12, "queue": "'"$2"'"}'
"""


def ok(*words: object, code: int = 0, **options: Any) -> Done:
    done = waybill(*words, **options)
    assert done.code == code, done
    return done


def make_vendor(folder: Path) -> None:
    ok("init", folder, "--vendor", "small-works", "--product", "shop")
    (folder / "admin.sh").write_text(ADMIN)
    write(folder)


def write(
    folder: Path, handler: str = "queue-depth", field: str = "disk_free_mib", more: str = "", signal: str = ""
) -> None:
    text = RELEASE.replace("PLATFORM", this_platform()).replace("HANDLER", handler)
    (folder / "release.yaml").write_text(text.replace("    returns:", f"{more}    returns:"))
    contract = CONTRACT.replace("FIELD", field) + signal
    (folder / "contract.yaml").write_text(contract.replace("queue-depth}", f"{handler}}}"))


def test_what_lint_says_of_handlers(tmp_path: Path) -> None:
    vendor = tmp_path / "shop"
    make_vendor(vendor)
    ok("lint", vendor / "release.yaml")
    write(vendor, handler="inventory")
    assert "'inventory' is a handler of every verifier" in ok("lint", vendor / "release.yaml", code=3).out
    write(vendor, more="    endpoints: [api]\n")
    assert "the sandbox of a handler has no network" in ok("lint", vendor / "release.yaml", code=3).out
    write(vendor, field="bitcoins")
    said = ok("lint", vendor / "release.yaml", code=3).out
    assert "has bitcoins, which resource-summary does not state" in said
    write(vendor, signal=REACHED)
    ok("lint", vendor / "release.yaml")
    write(vendor, signal=REACHED.replace("{enum: [api, store]}", "{integer: [0, 9]}"))
    assert (
        "field endpoint of signal 'reached' of contract.yaml is not an enumeration"
        in ok("lint", vendor / "release.yaml", code=3).out
    )
    write(vendor, more="    shell: true\n")
    assert "`shell`" in ok("lint", vendor / "release.yaml", code=3).out


def make_site(tmp_path: Path, vendor: Path) -> Path:
    """A site with the release, whose policy lists two handlers."""
    site, key = enroll_shop(vendor, tmp_path, "ops-1", "east"), tmp_path / "ops-1.key"
    yaml = site / "site.yaml"
    text = re.sub(r"(?m)^  # program: .*$", f"  program: {{user: {USER}}}", yaml.read_text())
    assert f"user: {USER}" in text
    yaml.write_text(text)
    ok("receive", tmp_path / "medium", "--site", site)
    contract = ok("review", "r-0.1.0", "--site", site, "--json").json["contract"]
    ok("approve", "r-0.1.0", "--key", key, "--site", site)
    ok("install", "r-0.1.0", "--contract", contract, "--site", site)
    policy = site / "policy.yaml"
    text = re.sub(r"(?m)^policy: 1", "policy: 2", policy.read_text())
    text = re.sub(r"(?m)^proposer_counts: .*", "proposer_counts: true", text)
    text = re.sub(r"(?m)^commands: .*$", "", text)
    policy.write_text(text + "\ncommands:\n  queue-depth: {operator: 1}\n  resource-summary: allowed\n")
    ok("approve", "policy", "--key", key, "--site", site)
    ok("install", "policy", "--site", site)
    return site


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: programs run as another account")
def test_from_the_vendors_file_to_the_answer_at_support(tmp_path: Path) -> None:
    vendor, fleet, key = tmp_path / "shop", tmp_path / "fleet", tmp_path / "ops-1.key"
    tmp_path.chmod(0o755)
    make_vendor(vendor)
    site = make_site(tmp_path, vendor)
    assert "handler   queue-depth: counts the jobs" in ok("show", tmp_path / "medium" / "shop-0.1.0.tar").out
    shown = ok("show", "queue-depth", cwd=site).out
    assert "policy 2 asks for approvals: 1 operator" in shown
    ok("fleet", "enroll", site / "outbox" / "enrolment.json", "--root", vendor / "trust/1.root.json", "--fleet", fleet)
    ok("fleet", "import", tmp_path / "medium", site / "outbox", "--fleet", fleet)
    asked = ("--request", "queue-depth queue=intake", "--request", "resource-summary", "--request", "shell command=x")
    consign = ("fleet", "consign", "east", "--key", vendor / "keys" / "consignment-1.key", "--fleet", fleet)
    done = ok(*consign, "-o", tmp_path / "note", *asked, "--why", "jobs are late", "--for-reports", "20")
    assert "note: no release in the ledger has the handler shell" in done.out
    came = ok("receive", tmp_path / "note", "--site", site).out
    assert "request q3, shell: no such handler" in came
    review = ok("review", "c-1.1", "--site", site).out
    for words in ("why: jobs are late", "may read the queue table", "signal queue_depth leaves with it", "read-only"):
        assert words in review
    ok("run", "c-1.1", "--site", site, code=9)
    ok("approve", "c-1.1", "--key", key, "--site", site)
    ran = ok("run", "c-1.1", "--site", site, "--json")
    assert ran.json["values"] == {"jobs": 12, "queue": "intake"}
    assert ran.json["signal"] == "queue_depth"
    ran = ok("run", "c-1.2", "--site", site, "--json")
    assert (ran.json["signal"], len(ran.json["values"]) > len(ran.json["leaving"])) == ("resources", True)
    again = ok("run", "resource-summary", "--site", site).out
    assert "signal resources leaves with this report: disk_free_mib\n" in again
    unknown = ok("show", "queue-length", "--site", site, code=6).err
    assert "queue-length: no such file or folder, and no such handler" in unknown
    assert "a handler of this site: certificate-expiry, " in unknown and "queue-depth" in unknown
    ok("run", "c-1.1", "--site", site, code=5)
    assert "c-1.1 ran after" in ok("history", "--site", site).out
    (tmp_path / "back").mkdir()
    ok("report", "--out", tmp_path / "back", "--key", key, "--site", site)
    carried = b"".join(path.read_bytes() for path in (tmp_path / "back").rglob("*") if path.is_file())
    assert b"hunter2" not in carried
    ok("fleet", "import", tmp_path / "back", "--fleet", fleet)
    page = ok("fleet", "show", "east", "--fleet", fleet).out
    for words in ("queue-depth: ran", "resource-summary: ran", "shell: no such handler", "queue_depth", "jobs"):
        assert words in page
    answers = json.loads(ok("fleet", "show", "east", "--json", "--fleet", fleet).out)["report"]["requests"]
    results = {path.name: path.read_bytes() for path in (site / "telemetry" / "results").iterdir()}
    digests = {f"sha256:{hashlib.sha256(data).hexdigest()}" for data in results.values()}
    assert {answer["result"] for answer in answers if "result" in answer} == digests
    # One of the three was run by the operator.
    assert [answer["request"] for answer in answers if "consignment" not in answer] == ["h-1"]
    assert "h-1" in page and "resource-summary: ran, by the site's own people" in page
