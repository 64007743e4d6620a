"""What must not leave with telemetry: a secret in every part of each source, looked for in every byte that leaves."""

import base64
import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from click.testing import CliRunner

from fleet.intake.transports import read_symbols
from manifests.documents.telemetry import parse_telemetry
from manifests.transport.armour import find_armour, open_armour
from manifests.transport.symbols import gather, join_report, parse_symbol
from manifests.words.canonical import encode
from tests.counting import SIGNALS, Counting, CountingVendor, make_counting
from verifier.commands.collect import collect_command
from verifier.commands.history import history_command
from verifier.commands.report import report_command
from verifier.reporting.report_write import write_report
from verifier.site.disk import Disk

RESULTS = """\
  - name: selftest
    kind: command-result
    from: {handler: selftest}
    fields: {verdict: {enum: [ok, bad]}}
    why: results
"""
PLANTED = (
    *("folder", "log-line", "log-line-of-the-past", "rotated-line", "rotated-name", "overlong-line"),
    *("metric-name", "label-name", "label-value", "comment", "malformed-sample", "second-value"),
    *("span-attribute", "other-operation", "trace-name", "trace-resource", "malformed-trace"),
    *("result-word", "result-name", "result-signal", "error-message", "environment"),
)


def canary(what: str) -> str:
    """Unlike anything else, and the same on every run; with letters that URLs escape."""
    return "zq" + hashlib.sha256(what.encode()).hexdigest()[:14]


def forms(secret: str) -> Iterator[bytes]:
    """The secret in clear, backwards, in hex, escaped, and in base64 at each of its three alignments."""
    raw = secret.encode()
    yield from (raw, raw.upper(), raw[::-1], raw.hex().encode(), raw.hex().upper().encode(), quote(raw).encode())
    yield "".join(f"%{byte:02X}" for byte in raw).encode()
    yield hashlib.sha256(raw).hexdigest().encode()
    for before in range(3):
        # Whole groups of three bytes only: what stands around them changes the letters at both ends.
        whole = raw[(3 - before) % 3 :]
        whole = whole[: len(whole) // 3 * 3]
        yield base64.b64encode(whole)
        yield base64.urlsafe_b64encode(whole)


def unfolded(data: bytes, depth: int = 0) -> Iterator[bytes]:
    """The bytes, and what is packed in them: armour, symbols, base64, and streams of zlib, gzip and deflate."""
    yield data
    if depth == 4:
        return
    for block in find_armour(data):
        yield from unfolded(open_armour(block, "x"), depth + 1)
    if b"WB1:" in data:
        symbols = [symbol for text in data.decode().splitlines() if (symbol := parse_symbol(text, "x"))]
        for group in gather(symbols).values():
            if not group.missing:
                yield from unfolded(join_report(group, "x"), depth + 1)
    for run in set(re.findall(rb"[A-Za-z0-9+/]{24,}", data)):
        for at in range(4):
            whole = run[at : at + (len(run) - at) // 4 * 4]
            yield from unfolded(base64.b64decode(whole), depth + 1) if (whole and at == 0) or depth == 0 else ()
    starts = {match.start() for match in re.finditer(rb"\x1f\x8b|\x78[\x01\x5e\x9c\xda]", data)}
    for start in sorted(starts)[:200]:
        for wbits in (15, 31):
            try:
                yield from unfolded(zlib.decompressobj(wbits).decompress(data[start:], 1 << 20), depth + 1)
            except zlib.error:
                continue
    if depth:
        try:
            yield from unfolded(zlib.decompressobj(-15).decompress(data, 1 << 20), depth + 1)
        except zlib.error:
            return


@pytest.fixture
def counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counting:
    """A site that counted sources full of secrets, and reported."""
    monkeypatch.setenv("PRODUCT_PASSWORD", canary("environment"))
    counting = make_counting(tmp_path / canary("folder"), CountingVendor(signals=SIGNALS + RESULTS))
    log, spans, metrics = counting.log, counting.spans, counting.metrics
    log.write_text(f"code=E1 {canary('log-line-of-the-past')}\n")
    counting.collect()
    packed = base64.b64encode(gzip.compress(canary("rotated-line").encode())).decode()
    with log.open("a") as file:
        file.write(f"code=E1 {canary('log-line')} code=E2\ncode=E2 {packed} {canary('rotated-line')}\n")
    log.rename(log.with_name(f"product.log-{20261130}"))
    log.with_name(f"product.log.{canary('rotated-name')}").write_text("code=E1\n")
    log.write_text(f"{canary('overlong-line') * 9000}\ncode=E1\n")
    name = f"{canary('trace-name')}.jsonl"
    span = {"name": "intake", "startTimeUnixNano": "0", "endTimeUnixNano": "5000000"}
    attributes = [{"key": canary("span-attribute"), "value": {"stringValue": canary("span-attribute")}}]
    other = span | {"name": canary("other-operation")}
    request = {
        "resourceSpans": [
            {
                "resource": {"attributes": [{"key": canary("trace-resource")}]},
                "scopeSpans": [{"spans": [span | {"attributes": attributes}, other]}],
            }
        ]
    }
    (spans / name).write_text(f"{json.dumps(request)}\n{canary('malformed-trace')}\n")
    for value in (3, 8, 12):
        metrics.write_text(
            f"# HELP shop_requests_total {canary('comment')}\n# TYPE shop_requests_total counter\n"
            f'shop_requests_total{{route="intake",{canary("label-name")}="{canary("label-value")}"}} {value}\n'
            f'shop_requests_total{{route="{canary("label-value")}"}} {value}\n'
            f"{canary('metric-name')}_total 4\nshop_requests_total {canary('second-value')}\n"
            f"{canary('malformed-sample')} {{ \n"
        )
        counting.collect(minutes=1)
    folder = counting.place.path / "telemetry" / "results"
    folder.mkdir()
    typed = {"type": "application/vnd.waybill.handler-result.v1+json", "start": "2026-03-01T12:00:00Z"}
    for i, values in enumerate(({"verdict": "ok"}, {"verdict": canary("result-word")}, {canary("result-name"): "ok"})):
        (folder / f"{i}.json").write_bytes(encode({**typed, "signal": "selftest", "values": values}))
    (folder / "9.json").write_bytes(encode({**typed, "signal": canary("result-signal"), "values": {"verdict": "ok"}}))
    (folder / f"{canary('error-message')}.json").write_text(canary("error-message"))
    (spans / f"{canary('error-message')}.json").symlink_to(log)
    with counting.place.hold() as site:
        write_report(site, Disk(), counting.place.clock.at, look=counting.place.look)
    counting.collect(minutes=10)
    with counting.place.hold() as site:
        write_report(site, Disk(), counting.place.clock.at, look=counting.place.look)
    return counting


def ways_out(counting: Counting, tmp_path: Path) -> Iterator[tuple[str, bytes]]:
    """Everything that leaves: the outbox, the copies on a medium, text, line, symbols, and the page of the history."""
    outbox, out, site = counting.place.path / "outbox", tmp_path / "out", str(counting.place.path)
    for path in sorted(outbox.iterdir()):
        yield path.name, path.name.encode() + b"\0" + path.read_bytes()
    out.mkdir()
    texts: list[str] = []
    for words in (("--text",), ("--line",), ("--qr-out", str(out / "qr.png")), ("--out", str(out))):
        done = CliRunner().invoke(report_command, [*words, "--site", site], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        if words[0] in ("--text", "--line"):
            yield words[0], done.stdout.encode()
    page = out / "history.html"
    CliRunner().invoke(history_command, ["--page", str(page), "--site", site], catch_exceptions=False)
    for path in sorted(out.iterdir()):
        yield path.name, path.name.encode() + b"\0" + path.read_bytes()
        if path.suffix == ".png":
            texts += read_symbols(path.read_bytes(), path.name)
    yield "symbols", "\n".join(texts).encode()


def inside(counting: Counting) -> bytes:
    """Every source, with its name."""
    parts = [str(counting.folder).encode()]
    for root in (counting.folder, counting.place.path / "telemetry" / "results"):
        for path in root.rglob("*"):
            parts += [path.name.encode(), path.read_bytes() if path.is_file() else b""]
    return b"\0".join(parts)


def test_no_secret_leaves_with_the_telemetry(counting: Counting, tmp_path: Path) -> None:
    sources = inside(counting)
    # Each was really planted; the collectors remove a result of a signal that the contract does not list.
    unplanted = {name for name in PLANTED if canary(name).encode() not in sources}
    assert unplanted == {"environment", "result-signal"}
    secrets = [(name, form) for name in PLANTED for form in forms(canary(name))]
    ways = set()
    for way, data in ways_out(counting, tmp_path):
        ways.add(way)
        for layer in unfolded(data):
            leaked = sorted({name for name, form in secrets if form in layer})
            # The page of the history is for people at the site: it names the folder that the site lies in.
            assert leaked in ([], ["folder"] if way == "history.html" else []), f"{way}: {leaked}"
    assert {"2.telemetry.json", "northern-grid.small.production.east.2.telemetry.json", "--text", "symbols"} <= ways


def test_what_is_counted_does_leave(counting: Counting) -> None:
    """The test above is worth something only if there are rows, and if its search finds what is packed."""
    telemetry = parse_telemetry((counting.place.path / "outbox" / "2.telemetry.json").read_bytes())
    rows = {signal.signal: signal.rows for signal in telemetry.signals}
    assert [row.values for row in rows["errors"][:2]] == [{"code": "E1", "count": 2}, {"code": "E2", "count": 2}]
    assert (rows["requests"][0].values, rows["intake_time"][0].values["count"]) == ({"increase": 12}, 1)
    assert [row.values for row in rows["selftest"]] == [{"verdict": "ok"}]
    secret = canary("log-line").encode()
    for packed in (
        b"x" + base64.b64encode(b"a" + secret + b"bc"),
        base64.b64encode(gzip.compress(secret * 3)),
        b"head" + zlib.compress(secret),
        secret.hex().encode(),
    ):
        assert any(form in layer for layer in unfolded(packed) for form in forms(canary("log-line"))), packed


def test_what_the_site_keeps_has_no_secret_either(counting: Counting) -> None:
    """Counts and progress lie in telemetry/ of the site, where more people may read than the sources."""
    for path in (counting.place.path / "telemetry").glob("*.json"):
        for name in PLANTED:
            assert not any(form in path.read_bytes() for form in forms(canary(name))), f"{path.name}: {name}"
    done = CliRunner().invoke(collect_command, ["--site", str(counting.place.path), "--json"])
    # Its notes name addresses and files of sources, for people at the site; never what is in them.
    named = [name for name in PLANTED if canary(name) in done.output]
    assert set(named) <= {"folder", "error-message", "trace-name"}
