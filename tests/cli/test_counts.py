"""The example product under load for a minute: what support reads is what an independent counter counted."""

import http.client
import json
import math
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.real import free_port
from tests.shop_site import ok, stop
from tests.waybill import waybill

MAKE = Path(__file__).parents[2] / "examples" / "inkwell" / "make.py"
SECONDS = 60
CLIENTS = 3


class Clients:
    """Clients of the service that count their own requests: by kind of request, and by status of the answer."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.counts: Counter[str] = Counter()
        self.milliseconds: list[float] = []
        self._lock = threading.Lock()

    def run(self, seconds: float) -> None:
        threads = [threading.Thread(target=self._client, args=(i, seconds)) for i in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _client(self, number: int, seconds: float) -> None:
        chosen = random.Random(number)  # the same requests in every run
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            kind = chosen.choice(("job", "job", "job", "list", "nonsense"))
            body = json.dumps({"document": "secret-name.pdf", "digest": f"{chosen.getrandbits(256):064x}"})
            began = time.perf_counter()
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
            if kind == "list":
                connection.request("GET", "/jobs")
            else:
                connection.request("POST", "/jobs", body if kind == "job" else "nonsense")
            answer = connection.getresponse()
            answer.read()
            connection.close()
            with self._lock:
                self.counts[kind] += 1
                self.counts[f"status {answer.status}"] += 1
                if kind != "list":
                    self.milliseconds.append(1000 * (time.perf_counter() - began))
            time.sleep(0.02)


def value(page: Any, signal: str, name: str, **labels: str) -> int:
    """The sum of a field over what `fleet show --json` has of a signal."""
    rows = next(one["rows"] for one in page["telemetry"]["signals"] if one["signal"] == signal)
    chosen = [row for row in rows if labels.items() <= {**row["labels"], **row["values"]}.items()]
    return sum(row["values"][name] for row in chosen)


@pytest.mark.slow
def test_a_minute_of_load_is_counted_exactly(tmp_path: Path) -> None:
    vendor, medium, site, port = tmp_path / "vendor", tmp_path / "medium", tmp_path / "site", free_port()
    ok(waybill("init", vendor, "--product", "inkwell"))
    subprocess.run([sys.executable, str(MAKE), "1.0.0", str(vendor)], check=True)
    ok(waybill("build", vendor / "release.yaml", "-o", medium))
    ok(waybill("keygen", tmp_path / "me.key", "--no-passphrase"))
    digest = ok(waybill("show", vendor / "trust/1.root.json", "--json")).json["fingerprint"]
    names = ["--customer", "northern-grid", "--product", "inkwell", "--environment", "production", "--name", "east"]
    person = ["--person", f"me={tmp_path / 'me.pub'}", "--practice", "--site", site]
    ok(waybill("enroll", medium, "--fingerprint", digest, *names, *person))
    text = (site / "site.yaml").read_text().replace("files: {root: srv}", "files: {root: srv, keeper: supervisord}")
    kept = [line for line in text.splitlines() if not line.startswith(("endpoints:", "config:"))]
    added = f"""\
endpoints:
  api: "http://127.0.0.1:{port}"
  metrics: "http://127.0.0.1:{port}/metrics"
  app_log: "file:{site}/logs/app.log"
  traces: "file:{site}/data/app/traces"
config: {{hostname: inkwell.example, port: {port}}}
"""
    (site / "site.yaml").write_text("\n".join([*kept, added]))
    ok(waybill("receive", medium, "--site", site))
    ok(waybill("approve", "r-1.0.0", "--key", tmp_path / "me.key", "--site", site))
    contract = ok(waybill("review", "r-1.0.0", "--site", site, "--json")).out.split('"contract": "')[1][:71]
    clients = Clients(port)
    try:
        ok(waybill("install", "r-1.0.0", "--contract", contract, "--site", site))
        ok(waybill("collect", "--site", site))
        load = threading.Thread(target=clients.run, args=(SECONDS,))
        load.start()
        while load.is_alive():
            ok(waybill("collect", "--site", site))
            load.join(7)
        ok(waybill("collect", "--site", site))
        out = tmp_path / "carried"
        out.mkdir()
        ok(waybill("report", "--new", "--out", out, "--site", site))
    finally:
        stop(site)
    fleet = ["--fleet", tmp_path / "ledger"]
    ok(waybill("fleet", "enroll", site / "outbox" / "enrolment.json", *fleet))
    ok(waybill("fleet", "import", medium, out, *fleet))
    page = ok(waybill("fleet", "show", "east", "--json", *fleet)).json
    counts = clients.counts
    assert counts["job"] > 100 and counts["status 400"] == counts["nonsense"] > 20
    posted = counts["job"] + counts["nonsense"]
    assert value(page, "request_latency", "count", route="intake") == posted
    assert value(page, "request_latency", "count", route="list") == counts["list"]
    assert value(page, "refused_requests", "count", reason="malformed") == counts["nonsense"]
    assert value(page, "refused_requests", "count", reason="full") == counts["status 503"]
    assert value(page, "intake_spans", "count") == posted
    assert value(page, "intake_spans", "errors") == round(1000 * counts["status 503"] / posted)
    # The client waits longer than the service works, and the slowest request is above the quantile.
    slowest = sorted(clients.milliseconds)[math.ceil(0.99 * posted) - 1]
    assert 0 <= value(page, "intake_spans", "p99") <= slowest + 1
    assert 0 < value(page, "request_latency", "p99", route="intake") <= 5000
    everything = b"".join(path.read_bytes() for path in out.iterdir())
    assert b"secret-name" not in everything and b"127.0.0.1" not in everything
