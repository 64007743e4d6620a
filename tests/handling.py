"""A release with handlers: real programs for the sandbox, and a contract that takes what they state."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifests.authored.contract_yaml import compile_contract
from manifests.authored.handwritten import parse_handwritten
from manifests.documents import release as r
from manifests.documents.consignment import Consignment, Request
from manifests.documents.contract import Contract, Values
from manifests.words.digest import Blob, digest_of
from tests.consignments import consignment_for, signed
from tests.governed import policy_text, write_policy
from tests.place import ENDPOINTS, Place, make_place
from tests.vendor import CONTRACT_YAML, Vendor
from verifier.handlers.run import RunResult, ask_for, run_use
from verifier.intake.consignments import peek_consignment_file, receive_consignment
from verifier.reporting.report_write import write_report
from verifier.runtime.program_files import this_platform

# An account of this process alone: how many processes it may have is counted over all that run as it.
USER = 1_000_000 + os.getpid() if os.geteuid() == 0 else os.geteuid()
SIGNALS = b"""\
  - name: queue_depth
    kind: command-result
    from: {handler: queue-depth}
    fields: {jobs: {integer: [0, 100]}, queue: {enum: [intake, archive]}}
    why: the queue
  - name: probes
    kind: command-result
    from: {handler: health-snapshot}
    fields: {probes_passing: {integer: [0, 1000]}, probes_failing: {integer: [0, 1000]}}
    why: health at a moment
"""
ACTS = ("text", "extra", "less", "nested", "nothing", "fails", "flood", "never", "deaf", "forks", "daemon")
SIGNALS += b"".join(
    b"  - {name: act_%s, kind: command-result, from: {handler: act-%s}, why: odd,\n"
    b"     fields: {jobs: {integer: [0, 100]}, queue: {enum: [intake]}}}\n" % (act.encode(), act.encode())
    for act in ACTS
)
# What the program does is its second argument; the first says which handler it is.
TOOL = rb"""#!/bin/sh
case "$1:$2" in
queue-depth:intake) printf '{"jobs": 7, "queue": "%s"}\n' "$2";;
queue-depth:archive) echo '{"jobs":101,"queue":"archive"}';;
act:text) echo 'the password is hunter2'; echo 'hunter3' >&2;;
act:extra) echo '{"jobs":1,"queue":"intake","note":"hunter2"}';;
act:less) echo '{"jobs":1}';;
act:nested) echo '{"jobs":{"a":1},"queue":"intake"}';;
act:nothing) exit 0;;
act:fails) echo 'hunter2'; exit 3;;
act:flood) exec dd if=/dev/zero bs=1M count=1024 2>/dev/null;;
act:never) exec sleep 600;;
act:deaf) trap '' TERM INT HUP; while :; do sleep 1; done;;
act:forks) while :; do sleep 600 & done;;
act:daemon) setsid sleep 601 >/dev/null 2>&1 & echo '{"jobs":1,"queue":"intake"}'; exit 0;;
*) exit 64;;
esac
"""


def handler(name: str, *run: str, **change: object) -> r.Handler:
    given: dict[str, object] = {
        "name": name,
        "does": f"does {name}",
        "source": "tool.sh",
        "run": ("tool", *run),
        "may": ("read the queue table",),
        "risk": "read-only",
        "repeatable": True,
        "limits": r.Limits(seconds=2, memory_bytes=64 << 20, output_bytes=2 << 10),
        **change,
    }
    return r.Handler(**given)  # type: ignore[arg-type]  # by name


QUEUE = handler(
    "queue-depth",
    "queue-depth",
    "{queue}",
    parameters={"queue": Values(enum=("intake", "archive"))},
    returns="queue_depth",
)
ONCE = handler("once", "act", "nothing", repeatable=False, risk="changes-data")
# Each prints or does something that no handler may.
ODD = tuple(handler(f"act-{act}", "act", act, returns=f"act_{act}") for act in ACTS)


@dataclass(frozen=True)
class Handling(Vendor):
    """A vendor whose release brings handlers, and a contract with signals for some of them."""

    handlers: tuple[r.Handler, ...] = (QUEUE, ONCE, *ODD)
    signals: bytes = SIGNALS

    def contract(self) -> Contract:
        return compile_contract(parse_handwritten(CONTRACT_YAML + self.signals, "contract.yaml"))


def handling(version: str = "1.0.0", sequence: int = 1, tool: bytes = TOOL, **change: object) -> Handling:
    program = r.Program(name="tool", files={this_platform(): Blob(digest=digest_of(tool), size=len(tool))})
    handlers = change.pop("handlers", (QUEUE, ONCE, *ODD))
    given: dict[str, object] = {
        "version": version,
        "sequence": sequence,
        "images": False,
        "extra": {"tool": tool},
        "handlers": handlers,
        "change": {"programs": (program,), "handlers": handlers, "extensions": {}},
        **change,
    }
    return Handling(**given)  # type: ignore[arg-type]  # by name


def commands_text(**commands: str) -> str:
    listed = "".join(f"  {name.replace('_', '-')}: {needs}\n" for name, needs in commands.items())
    return f"commands:\n{listed}"


def handling_place(
    folder: Path,
    vendor: Vendor | None = None,
    user: str = str(USER),
    endpoints: str = ENDPOINTS,
    more: str = "",
    **commands: str,
) -> Place:
    """A site where the release runs and policy 2 lists ``commands``; its programs run as an account of their own."""
    vendor = vendor or handling()
    place = make_place(folder, vendor)
    place.tell = lambda site, cause: write_report(site, site.disk, place.clock.at, cause=cause, look=place.look)
    yaml = place.path / "site.yaml"
    program = f"\n  program: {{user: {user}}}" if user else ""
    text = yaml.read_text().replace("  store: {}", f"  store: {{}}{program}")
    yaml.write_text(text.replace(ENDPOINTS, endpoints) + more)
    result = place.bring(vendor.write(folder / "1.tar"))
    assert result.error is None, result.error
    allow(place, **commands)
    return place


def allow(place: Place, **commands: str) -> None:
    """Put the next policy in force, which lists exactly ``commands``."""
    number = place.open().state.trust.policy_number + 1
    people = ("ops-1", "sec-1") if number > 2 else ("ops-1",)
    place.put_policy(write_policy(place, policy_text(number) + commands_text(**commands)), *people)


def run(place: Place, name: str, *people: str, **parameters: str) -> RunResult:
    """Run an item, or ask for a handler and run it."""
    assert place.tell is not None
    with place.hold("run") as site:
        item = name if name[:2] in ("c-", "h-") else ask_for(site, name, parameters)
        return run_use(site, item, place.tools(), place.tell, tuple(place.people[person] for person in people))


def request(handler: str, name: str = "q1", **fields: object) -> Request:
    given: dict[str, object] = {"request": name, "handler": handler, **fields}
    return Request(**given)  # type: ignore[arg-type]  # by name


def consign(place: Place, folder: Path, *requests: Request, number: int = 1, **changes: Any) -> Consignment:
    """Receive a consignment with the requests, as another account than anybody's here."""
    note = consignment_for(place.open().state, number, requests=requests, **changes)
    path = folder / f"note-{number}.json"
    path.write_bytes(signed(note))
    with place.hold("receive") as site:
        receive_consignment(site, peek_consignment_file(path))
    return note
