"""Quantiles of durations with a bounded relative error and a bounded size, and of cumulative histogram buckets.

Durations are counted in buckets whose bounds grow by a fixed factor, so that a quantile is wrong by at most 1 %, and
two counts can be added (Masson, Rim, Lee: DDSketch, VLDB 2019, section 2.1).
"""

import math
from collections.abc import Mapping

# By name of a contract's field.
QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
_GROWTH = 1.01 / 0.99
_LOG = math.log(_GROWTH)
# One microsecond to about a year: longer durations are counted in the last bucket.
MAX_BUCKET = 1600


def bucket_of(microseconds: int) -> int:
    """Return the bucket of a duration; 0 holds everything up to one microsecond."""
    return 0 if microseconds <= 1 else min(MAX_BUCKET, math.ceil(math.log(microseconds) / _LOG))


def quantile(buckets: Mapping[int, int], q: float) -> float | None:
    """Return the ``q`` quantile in microseconds, at most 1 % off; None without a value."""
    total = sum(buckets.values())
    if not total:
        return None
    rank = q * (total - 1)
    seen = 0
    for bucket in sorted(buckets):
        seen += buckets[bucket]
        if seen > rank:
            return 2 * _GROWTH**bucket / (_GROWTH + 1)
    return None


def histogram_quantile(buckets: Mapping[float, float], q: float) -> float | None:
    """Return the ``q`` quantile of cumulative buckets by upper bound, as Prometheus' ``histogram_quantile`` does.

    Inside a bucket values are taken to be spread evenly. A quantile in the last bucket, which has no upper bound, is
    the bound before it. None without values, or without that last bucket.
    """
    bounds = sorted(buckets)
    if len(bounds) < 2 or bounds[-1] != math.inf:
        return None
    counts: list[float] = []
    for bound in bounds:
        # A histogram that is read while it changes may not be monotonic (the same correction as Prometheus).
        counts.append(max(buckets[bound], counts[-1] if counts else 0.0))
    rank = q * counts[-1]
    if not counts[-1]:
        return None
    index = next(i for i, count in enumerate(counts) if count >= rank)
    if index == len(bounds) - 1:
        return bounds[-2]
    low = bounds[index - 1] if index else min(0.0, bounds[0])
    below = counts[index - 1] if index else 0.0
    inside = counts[index] - below
    return bounds[index] if not inside else low + (bounds[index] - low) * (rank - below) / inside
