"""Make a report fit into its size limit, and count what was left out."""

from collections.abc import Callable

from msgspec.structs import replace

from manifests.documents import report as r
from manifests.documents.signed_report import encode_report


def shorten_chain(
    earlier: tuple[r.Earlier, ...], omitted: r.Omitted | None, most: int, acknowledged: r.Acknowledged | None
) -> tuple[tuple[r.Earlier, ...], r.Omitted | None]:
    """Return the newest ``most`` earlier reports, and which reports are left out."""
    if len(earlier) <= most:
        return earlier, omitted
    gone = earlier[-most - 1]
    first = omitted.first if omitted else (acknowledged.seq if acknowledged else 0) + 1
    return earlier[len(earlier) - most :], r.Omitted(first=first, last=gone.seq, digest=gone.digest)


def fit(report: r.Report, enrolment: str) -> r.Report:
    """Return the report within 64 KiB. The least useful entries are left out first, and all are counted.

    Components that are as released are left out first; failures last.
    """
    while len(encode_report(report, enrolment)) > r.MAX_CORE:
        smaller = next((reduced for reduction in _REDUCTIONS if (reduced := reduction(report)) is not None), None)
        if smaller is None:
            raise AssertionError("the bounded rest of a report is longer than a report may be")
        report = smaller
    return report


def _fewer_same(report: r.Report) -> r.Report | None:
    parts = report.components
    same = [one for one in parts.listed if one.found == "same"]
    gone = set(same[len(same) // 2 :])
    if not gone:
        return None
    listed = tuple(one for one in parts.listed if one not in gone)
    return replace(report, components=replace(parts, listed=listed, more_same=parts.more_same + len(gone)))


def _fewer_other(report: r.Report) -> r.Report | None:
    parts = report.components
    if not parts.listed:
        return None
    half = len(parts.listed) // 2
    more = parts.more_other + len(parts.listed) - half
    return replace(report, components=replace(parts, listed=parts.listed[:half], more_other=more))


def _fewer_earlier(report: r.Report) -> r.Report | None:
    chain = report.chain
    if not chain.earlier:
        return None
    earlier, omitted = shorten_chain(chain.earlier, chain.omitted, len(chain.earlier) // 2, chain.acknowledged)
    return replace(report, chain=replace(chain, earlier=earlier, omitted=omitted))


def _fewer(name: str) -> Callable[[r.Report], r.Report | None]:
    """Return a reduction that keeps the newer half of a list and counts the rest under `dropped`."""

    def reduce(report: r.Report) -> r.Report | None:
        rows: tuple[object, ...] = getattr(report, name)
        if not rows:
            return None
        half = len(rows) // 2
        shorter: r.Report = replace(report, **{name: rows[len(rows) - half :] if half else ()})
        return _count_omitted(shorter, name, len(rows) - half)

    return reduce


def _fewer_held(report: r.Report) -> r.Report | None:
    if report.store is None or not report.store.releases:
        return None
    return _count_omitted(replace(report, store=r.Store()), "store", len(report.store.releases))


def _joined_drops(report: r.Report) -> r.Report | None:
    """Join what is left out into one entry for each reason, without names."""
    reasons: dict[str, int] = {}
    for drops in report.dropped:
        reasons[drops.reason] = reasons.get(drops.reason, 0) + drops.count
    if len(reasons) == len(report.dropped):
        return None
    joined = tuple(r.Dropped(what="several", reason=reason, count=count) for reason, count in reasons.items())
    return replace(report, dropped=joined)


def _count_omitted(report: r.Report, what: str, count: int) -> r.Report:
    others = tuple(one for one in report.dropped if (one.what, one.reason) != (what, "too-large"))
    before = sum(one.count for one in report.dropped) - sum(one.count for one in others)
    return replace(report, dropped=(*others, r.Dropped(what=what, reason="too-large", count=before + count)))


_REDUCTIONS: tuple[Callable[[r.Report], r.Report | None], ...] = (
    _fewer_same,
    _fewer_held,
    _fewer("approvals"),
    _fewer_earlier,
    _fewer("health"),
    _fewer_other,
    _fewer("rollbacks"),
    _fewer("waiting"),
    _fewer("requests"),
    _joined_drops,
)
