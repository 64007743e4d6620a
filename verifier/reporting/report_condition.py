"""The condition of the site for a report: its host, its certificates, and the last failure of an install."""

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from manifests.authored.site_yaml import SiteFile
from manifests.documents.report import Report, ReportedHealth
from manifests.documents.report_condition import (
    MAX_CERTIFICATES,
    MAX_RECENT,
    FailureEnd,
    HostState,
    ReportedCertificate,
    ReportedFailure,
)
from manifests.words.quantities import parse_size
from verifier.runtime.preflight.host_summary import host_summary
from verifier.runtime.preflight.side_by_side import side_by_side
from verifier.runtime.probes.probe import site_authorities
from verifier.site.folder import Site
from verifier.site.journal.installs import State, Transaction
from verifier.site.journal.state import SiteState
from verifier.site.journal.transitions import BEFORE_CHANGE

# What is asked over the network may take so long together.
NETWORK_SECONDS = 8.0


def host_state(site: Site, settings: SiteFile | None, now: datetime) -> HostState | None:
    """Return what the host has; None where it does not let this account look."""
    try:
        host = host_summary(site.path, now)
    except OSError:
        return None
    return HostState(
        disk_free_mib=host.disk_free_bytes >> 20,
        disk_total_mib=host.disk_total_bytes >> 20,
        inodes_free=host.inodes_free,
        inodes_total=host.inodes_total,
        memory_available_mib=host.memory_available_bytes >> 20,
        memory_total_mib=host.memory_total_bytes >> 20,
        reserve_mib=parse_size(settings.keep.reserve) >> 20 if settings is not None else 0,
        reserve_spent=not site.reserve.exists(),
        clock=host.clock_synchronised,
    )


def certificate_states(site: Path, endpoints: Mapping[str, str], now: datetime) -> tuple[ReportedCertificate, ...]:
    """Return the certificate of every HTTPS endpoint, sorted by name. Asks all of them at once."""
    names = sorted(name for name, address in endpoints.items() if address.startswith("https://"))[:MAX_CERTIFICATES]
    if not names:
        return ()
    # It loads ssl, and only a site with such an endpoint needs it.
    from verifier.runtime.preflight.certificates import certificate_of

    authorities = site_authorities(site)
    answers = side_by_side(
        {name: partial(certificate_of, name, endpoints, authorities) for name in names}, NETWORK_SECONDS
    )
    certificates = []
    for name in names:
        answer = answers.get(name)
        if isinstance(answer, datetime):
            certificates.append(ReportedCertificate(endpoint=name, verdict="good", days=(answer - now).days))
        else:
            seen = answer is not None and answer.seen
            certificates.append(ReportedCertificate(endpoint=name, verdict="not-trusted" if seen else "unseen"))
    return tuple(certificates)


def with_recent(health: ReportedHealth, former: Report | None) -> ReportedHealth:
    """Return a result with those of the same probe and generation in the report before, and itself if it is new."""
    rows = former.health if former is not None else ()
    same = (row.recent for row in rows if (row.probe, row.generation) == (health.probe, health.generation))
    new = health.state[0] if health.measured == "now" else ""
    return replace(health, recent=(next(same, "") + new)[-MAX_RECENT:])


def last_failure(state: SiteState) -> ReportedFailure | None:
    """Return how the last install or rollback failed; None if it did not, or a person ended its trial."""
    transaction = state.installs.transaction
    if transaction is None:
        return None
    failed = _failed_act(transaction)
    if failed is None:
        return None
    planned = transaction.planned
    source = state.installs.generation(planned.source)
    act, step, code = failed
    return ReportedFailure(
        action=transaction.action,
        subject="config" if source is not None and source.release == planned.release else "release",
        generation=planned.target,
        release=planned.release,
        version=planned.version,
        act=act,
        step=step,
        code=code,
        end=_end(transaction),
    )


def _failed_act(transaction: Transaction) -> tuple[str, str | None, str] | None:
    """Return act, step and code of a failure: what was cut off, else what failed, else why it went back."""
    state = transaction.state
    if state in (State.PLANNED, State.CONFIRMED, State.SETTLED) or transaction.code == "by-hand":
        return None
    if transaction.act is not None and transaction.act != "retreat":
        return transaction.act, transaction.part, "interrupted"
    if transaction.failed is not None and not transaction.passed:
        return transaction.failed
    ended = state in (State.ROLLED_BACK, State.ROLLING_BACK, State.INCONSISTENT)
    return ("retreat", None, transaction.code or "failed") if ended else None


def _end(transaction: Transaction) -> FailureEnd:
    if transaction.state == State.INCONSISTENT:
        return "inconsistent"
    if transaction.state == State.ROLLED_BACK:
        return "rolled-back"
    unchanged = transaction.state in BEFORE_CHANGE and transaction.act is None and not transaction.touched
    return "unchanged" if unchanged else "unfinished"
