"""Metrics for a Prometheus collector: a histogram of request times, and gauges."""

import threading
from collections.abc import Iterable

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class RequestTimes:
    """A histogram of times for each route; safe to use from several threads."""

    def __init__(self, series: str, routes: Iterable[str]) -> None:
        self._series = series
        self._lock = threading.Lock()
        self._counts = {route: [0] * (len(BUCKETS) + 1) for route in sorted(routes)}
        self._sums = dict.fromkeys(self._counts, 0.0)

    def observe(self, route: str, seconds: float) -> None:
        bucket = sum(1 for bound in BUCKETS if bound < seconds)
        with self._lock:
            self._counts[route][bucket] += 1
            self._sums[route] += seconds

    def lines(self) -> list[str]:
        """Return the histograms in text exposition format 0.0.4, with its cumulative buckets."""
        lines = [f"# HELP {self._series} Time to answer.", f"# TYPE {self._series} histogram"]
        with self._lock:
            for route, counts in self._counts.items():
                total = 0
                for bound, count in zip((*BUCKETS, "+Inf"), counts, strict=True):
                    total += count
                    lines.append(f'{self._series}_bucket{{route="{route}",le="{bound}"}} {total}')
                lines.append(f'{self._series}_sum{{route="{route}"}} {self._sums[route]:.6f}')
                lines.append(f'{self._series}_count{{route="{route}"}} {total}')
        return lines


def gauge(name: str, help_text: str, values: dict[str, float]) -> list[str]:
    """Return the lines of one gauge; the keys of ``values`` are its label pairs as text, or empty."""
    lines = [f"# HELP {name} {help_text}", f"# TYPE {name} gauge"]
    return lines + [f"{name}{{{labels}}} {value}" if labels else f"{name} {value}" for labels, value in values.items()]
