"""A vendor whose telemetry contract has metrics, logs and traces, and a site with sources for them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from manifests.authored.contract_yaml import compile_contract
from manifests.authored.handwritten import parse_handwritten
from manifests.documents.contract import Contract
from tests.place import ENDPOINTS, Place, make_place
from tests.vendor import CONTRACT_YAML, Vendor
from verifier.collecting.collect import Collected, collect
from verifier.collecting.kept import read_counted
from verifier.site.disk import Disk

SIGNALS = """\
  - name: requests
    kind: metrics
    from: {prometheus: metrics, series: shop_requests_total}
    labels: {route: {enum: [intake, search]}}
    per: 5m
    rows: 100
    fields: {increase: {integer: [0, 1000000]}}
    why: load
  - name: errors
    kind: logs
    from: {log: product_log, patterns: {E1: "code=E1\\\\b", E2: "code=E2\\\\b"}}
    per: 5m
    rows: 100
    fields: {code: {enum: [E1, E2]}, count: {integer: [0, 1000000]}}
    why: failures
  - name: intake_time
    kind: traces
    from: {otlp: spans, operation: intake}
    per: 5m
    rows: 100
    fields: {count: {integer: [0, 1000000]}, max: {integer: [0, 60000], unit: ms}}
    why: speed
"""


@dataclass(frozen=True)
class CountingVendor(Vendor):
    """Adds ``signals``, in YAML, to the contract of every release."""

    signals: str = SIGNALS

    def contract(self) -> Contract:
        return compile_contract(parse_handwritten(CONTRACT_YAML + self.signals.encode(), "contract.yaml"))


@dataclass
class Counting:
    """A site that runs a release of ``vendor``, and the sources of its signals in ``folder``."""

    place: Place
    vendor: CountingVendor
    folder: Path

    @property
    def log(self) -> Path:
        return self.folder / "product.log"

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.prom"

    @property
    def spans(self) -> Path:
        return self.folder / "spans"

    def collect(self, *, minutes: int = 0, disk: Disk | None = None) -> Collected:
        """Look at every source once, ``minutes`` later."""
        self.place.clock.at += timedelta(minutes=minutes)
        return collect(self.place.open(), disk or Disk(), self.place.clock.at)

    def total(self, signal: str, name: str, **values: str) -> int:
        """The sum of a field over the rows of a signal that have these other values or labels."""
        definition = next(one for one in self.vendor.contract().signals if one.name == signal)
        kept = read_counted(self.place.path, definition)
        rows = kept[1].rows if kept else ()
        return sum(
            int(row.values.get(name, 0)) for row in rows if values.items() <= {**row.values, **row.labels}.items()
        )

    def dropped(self, signal: str) -> dict[str, int]:
        definition = next(one for one in self.vendor.contract().signals if one.name == signal)
        kept = read_counted(self.place.path, definition)
        return dict(kept[1].dropped) if kept else {}


def make_counting(
    tmp_path: Path, vendor: CountingVendor | None = None, endpoints: Mapping[str, str] | None = None, more: str = ""
) -> Counting:
    """Enrol and install; ``endpoints`` replace the files of the sources, ``more`` is added to site.yaml."""
    vendor = vendor or CountingVendor()
    folder = tmp_path / "sources"
    (folder / "spans").mkdir(parents=True)
    (folder / "product.log").write_bytes(b"")
    (folder / "metrics.prom").write_bytes(b"# TYPE shop_requests_total counter\n")
    place = make_place(tmp_path / "place", vendor)
    named = {
        "api": "tcp://127.0.0.1:9",
        "metrics": f"file:{folder}/metrics.prom",
        "product_log": f"file:{folder}/product.log",
        "spans": f"file:{folder}/spans",
        **(endpoints or {}),
    }
    yaml = place.path / "site.yaml"
    lines = "endpoints:\n" + "".join(f'  {name}: "{address}"\n' for name, address in named.items() if address)
    yaml.write_text(yaml.read_text().replace(ENDPOINTS, lines) + more)
    place.bring(vendor.write(tmp_path / "1.tar"))
    return Counting(place, vendor, folder)
