"""What a collector keeps: only values that the contract's bounds allow; the others are counted."""

import pytest

from content.telemetry.counted import OUT_OF_BOUNDS, TOO_LONG, Counted, fits
from manifests.documents.contract import Keep, Signal, SignalSource, Values
from manifests.documents.telemetry import TelemetryRow, Value

SIGNAL = Signal(
    name="queue",
    kind="command-result",
    source=SignalSource(handler="queue-depth"),
    fields={
        "waiting": Values(integer=(0, 10), unit="ms"),
        "age": Values(duration=(0, 60)),
        "state": Values(enum=("open", "closed")),
        "ready": Values(type="bool"),
        "version": Values(type="version"),
        "image": Values(type="digest"),
    },
    keep=Keep(site=1, vendor=1),
    why="tests",
)
DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("waiting", (0, 10), (-1, 11, "5", True)),
        ("age", (0, 60), (61, -1, "1m", False)),
        ("state", ("open",), ("Open", "half", 1)),
        ("ready", (True, False), (1, 0, "true")),
        ("version", ("1.2.3", "1.0.0-rc.1"), ("1.2", "latest", 1)),
        ("image", (DIGEST,), ("sha256:0", DIGEST.upper(), "open")),
        ("other", (), (0, "open", True)),
    ],
)
def test_a_value_fits_its_bounds(name: str, good: tuple[Value, ...], bad: tuple[Value, ...]) -> None:
    assert all(fits(SIGNAL, name, value) for value in good)
    assert not any(fits(SIGNAL, name, value) for value in bad)


def test_what_does_not_fit_is_counted_and_the_rest_is_kept() -> None:
    def row(values: dict[str, Value]) -> TelemetryRow:
        return TelemetryRow(start="2026-11-20T00:00:00Z", values=values)

    first = Counted().add(SIGNAL, (row({"waiting": 3, "state": "gone"}), row({"waiting": 99})), {TOO_LONG: 2})
    assert first == Counted(rows=(row({"waiting": 3}),), dropped={OUT_OF_BOUNDS: 2, TOO_LONG: 2})
    second = first.add(SIGNAL, (row({"ready": True}),), {TOO_LONG: 1, "gap": 0})
    assert second == Counted(rows=(row({"waiting": 3}), row({"ready": True})), dropped={OUT_OF_BOUNDS: 2, TOO_LONG: 3})
