"""Vectors: requests in a consignment, before the vendor's trust chain, and on their arrival at a site."""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from manifests.documents.consignment import CONSIGNMENT_TYPE, Consignment, Request, verify_consignment
from manifests.trust.envelope_writer import seal
from manifests.trust.root import verify_chain
from manifests.words.canonical import decode, encode
from tests.consignments import challenge_of
from tests.faults.model import QuickDisk
from tests.governed import policy_text, write_policy
from tests.handling import commands_text, consign
from tests.place import make_place
from tests.vectors.surgery import Paper, folder
from tests.vendor import CONSIGNMENT, Vendor
from verifier.reporting.report_write import write_report

VENDOR = Vendor(images=False)
SITE = "northern-grid/small/production/east"
NOTE = Consignment(
    vendor="small-works",
    site=SITE,
    site_key=CONSIGNMENT.public.keyid,
    number=7,
    issued_at="2026-03-01T10:00:00Z",
    challenge=challenge_of(7),
)


def request(name: str = "q1", handler: str = "journal-excerpt", **fields: Any) -> Request:
    given: dict[str, Any] = {"parameters": {"kind": "note"}, **fields}
    return Request(request=name, handler=handler, **given)


def window(first: int | None, last: int | None) -> Request:
    return request(first_report=first, last_report=last)


def sent(*requests: Request) -> Callable[[], Paper]:
    """Signed by the role, also one that breaks the rules inside it."""
    raw = seal(encode(replace(NOTE, requests=requests)), CONSIGNMENT_TYPE, (CONSIGNMENT,))
    chain = verify_chain((VENDOR.root_file(),), VENDOR.pin())

    def judge(data: bytes) -> str:
        verify_consignment(data, chain)
        return ""

    return lambda: Paper(raw, judge)


def arriving(asked: Request) -> Callable[[], Paper]:
    """What a site with a release and three reports answers; its policy lists the handler `journal-excerpt` alone."""

    def judge(data: bytes) -> str:
        with folder() as here:
            place = make_place(here, VENDOR, disk=QuickDisk())
            ended = place.bring(VENDOR.write(here / "1.tar"))
            assert ended.error is None, ended
            text = policy_text(2) + commands_text(journal_excerpt="allowed")
            place.put_policy(write_policy(place, text), "ops-1")
            with place.hold() as site:
                for _ in range(3):
                    write_report(site, site.disk, place.clock.at)
            consign(place, here, decode(data, Request, "request"))
            (use,) = place.open().state.reports.answered
        return f"{use.outcome} {use.reason or ''}".strip()

    return lambda: Paper(encode(asked), judge)


TOPICS = {
    "consignment-requests": (
        "Requests in a consignment that the role has signed: the window of each begins no later than it ends (D-5.4), "
        "and each has a name of its own (D-5.2).",
        {
            "no-window": sent(request()),
            "one-report": sent(window(8, 8)),
            "first-alone": sent(window(9, None)),
            "last-alone": sent(window(None, 1)),
            "turned": sent(window(9, 8)),
            "turned-by-far": sent(window(2**53 - 1, 1)),
            "turned-in-the-second": sent(request(), replace(window(9, 8), request="q2")),
            "same-name-twice": sent(request(), window(1, 8)),
        },
    ),
    "consignment-at-a-site": (
        "The answer of a site to one request on its arrival (D-5.5). The site has written three reports, so its next "
        "one is the fourth, and its policy lists one handler.",
        {
            "allowed": arriving(request()),
            "window-holds-the-next": arriving(window(4, 4)),
            "window-ended": arriving(window(None, 3)),
            "window-begins-later": arriving(window(5, None)),
            "no-such-handler": arriving(request(handler="shell")),
            "not-in-the-policy": arriving(request(handler="inventory", parameters={})),
            "parameter-missing": arriving(request(parameters={})),
            "parameter-of-another-value": arriving(request(parameters={"kind": "everything"})),
            "parameter-too-many": arriving(request(parameters={"kind": "note", "path": "etc"})),
        },
    ),
}
