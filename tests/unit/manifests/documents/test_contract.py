"""The telemetry contract: authored, compiled, read back. Compiled ones that contradict themselves are vectors."""

import pytest

from manifests.authored.contract_yaml import compile_contract
from manifests.authored.handwritten import parse_handwritten
from manifests.documents.contract import CORE_FIELDS, Contract, parse_contract
from manifests.words.canonical import encode
from manifests.words.errors import MalformedError

FILE = f"""\
waybill: 1
contract: acme-telemetry
version: 3
purpose: support and nothing else
budget: {{telemetry: 64KiB, when_full: drop and count}}
keep: {{site: 90d, vendor: 400d}}
signals:
  - name: install_state
    kind: deployment-state
    fields: [{", ".join(CORE_FIELDS)}]
    optional: [store]
    why: inventory
  - name: requests
    kind: metrics
    from: {{prometheus: api, series: http_requests_total}}
    labels:
      code: {{enum: [ok, failed]}}
    per: 1h
    rows: 24
    fields:
      count: {{integer: [0, 1000000]}}
    keep: {{vendor: 30d}}
    why: load
"""


def compiled(text: str) -> Contract:
    return compile_contract(parse_handwritten(text.encode(), "contract.yaml"))


def test_compiled_it_has_no_units_and_no_defaults_left() -> None:
    found = compiled(FILE)
    assert found.telemetry_bytes == 65536
    state, requests = found.signals
    assert state.core == CORE_FIELDS and state.optional == ("store",) and not state.fields
    assert requests.per_seconds == 3600
    assert (requests.keep.site, requests.keep.vendor) == (90 * 86400, 30 * 86400)
    assert parse_contract(encode(found)) == found


@pytest.mark.parametrize(
    ("old", "new", "line", "problem"),
    [
        ("64KiB", "64KB", 5, "not a size"),
        ("64KiB", "9999999TiB", 5, "more than 2"),
        ("drop and count", "drop", 5, "invalid"),
        ("{site: 90d, vendor: 400d}", "{site: 90d}", 6, "both site and vendor"),
        ("site: 90d", "site: ninety", 6, "not a duration"),
        ("name: requests", "name: install_state", 13, "given twice"),
        ("kind: deployment-state", "kind: health", 10, "name values"),
        ("kind: metrics", "kind: deployment-state", 20, "exactly the fields"),
        ("identity, chain", "chain, identity", 10, "exactly the fields"),
        ("[store]", "[secrets]", 10, "exactly the fields"),
        ("prometheus: api, series: http_requests_total", "probe: up", 15, "prometheus and series"),
        ("prometheus: api, ", "", 15, "prometheus and series"),
        ("enum: [ok, failed]", "enum: [ok, ok]", 17, "twice"),
        ("enum: [ok, failed]", "unit: ms", 17, "exactly one of enum"),
        ("enum: [ok, failed]", "enum: [ok], integer: [0, 1]", 17, "exactly one of enum"),
        ("[0, 1000000]", "[1, 0]", 21, "above its upper bound"),
        ("[0, 1000000]", "[0]", 21, "length"),
        ("integer: [0, 1000000]", "text: any", 21, "unknown field"),
        ("[0, 1000000]}", "[0, 1], unit: requests}", 21, "unknown unit"),
        ("integer: [0, 1000000]", "type: component", 21, "is a number"),
        ("integer: [0, 1000000]", "duration: [9s, 1s]", 21, "above its upper bound"),
        ("integer: [0, 1000000]", "duration: [fast, slow]", 21, "not a duration"),
        ("integer: [0, 1000000]", "type: text", 21, "invalid"),
        ("enum: [ok, failed]", "integer: [0, 9]", 17, "needs an enum"),
        ("count: {integer", "hits: {integer", 21, "no field 'hits'"),
        ("    per: 1h\n", "", 13, "`per` and `rows`"),
        ("per: 1h", "per: hourly", 18, "not a duration"),
        ("rows: 24", "rows: 0", 19, ">= 1"),
        ("vendor: 30d", "vendors: 30d", 22, "invalid"),
        ("waybill: 1", "waybill: 2", 1, "invalid"),
    ],
)
def test_errors_have_their_line(old: str, new: str, line: int, problem: str) -> None:
    """F-12.1, as authors meet it."""
    assert old in FILE
    with pytest.raises(MalformedError) as caught:
        compiled(FILE.replace(old, new, 1))
    assert caught.value.where == f"contract.yaml:{line}", caught.value
    assert problem in caught.value.problem


def test_bounds_of_the_compiled_form_are_met_by_the_author() -> None:
    """64 labels fit; a 65th is refused here and not at the first site."""
    labels = "".join(f"      l{n}: {{enum: [a]}}\n" for n in range(64))
    text = FILE.replace("      code: {enum: [ok, failed]}\n", labels)
    assert len(compiled(text).signals[1].labels) == 64
    with pytest.raises(MalformedError) as caught:
        compiled(text.replace(labels, labels + "      more: {enum: [a]}\n"))
    assert caught.value.where.startswith("contract.yaml $.signals")
