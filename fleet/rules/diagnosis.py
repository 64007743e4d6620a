"""What is wrong at a site, from its newest report and the one before it alone. Pure.

Each diagnosis is one sentence that names a cause, with a stable id. docs/operations.md says what to do about each.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from manifests.documents.report import Report, ReportedComponent, ReportedHealth
from manifests.documents.report_condition import HostState, ReportedCertificate, ReportedFailure
from manifests.documents.report_text import REFUSED
from manifests.documents.rollback_causes import cause_text
from manifests.words.time import parse_time
from manifests.words.units import show_count, show_duration, show_times

# File systems and databases become slow, and an upgrade with its backup no longer fits, well before the last byte.
LOW_DISK_PERCENT = 10
# A renewal by an authority inside a customer's company takes one to two weeks; a courier takes another.
CERTIFICATE_DAYS = 21
# A probe that fails once and passes again has changed twice: an ordinary restart. A third change is a pattern.
FLAPPING_CHANGES = 3
# supervisord and systemd start a service again after a crash; twice a day may be a machine that was busy.
MANY_RESTARTS = 3
MAX_NAMED = 3


@dataclass(frozen=True)
class Diagnosis:
    """One cause.

    Attributes:
        id: Stable name, such as ``disk-full``.
        text: A sentence for people at support.
    """

    id: str
    text: str


def diagnose(report: Report, before: Report | None = None) -> tuple[Diagnosis, ...]:
    """Return the causes that the report proves, the gravest first; empty for a healthy site.

    Args:
        before: The report before this one, if the ledger holds it.
    """
    return (
        # First what stopped a change or the software, then what soon will.
        *_failure(report),
        *_disk(report),
        *_restarts(report),
        *_images(report),
        *_registry(report),
        *_config(report),
        *_medium(report),
        *_clock(report, before),
        *_certificates(report),
        *_flapping(report),
    )


def _names(names: list[str]) -> str:
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def _failure(report: Report) -> Iterator[Diagnosis]:
    """The last install or rollback: a migration that is half-way, a configuration that fails, or something else."""
    failure = report.install.failure
    if failure is None:
        return
    target = f"generation {failure.generation} ({failure.version})"
    end = {
        "unchanged": "nothing was changed",
        "unfinished": "it is unfinished, and `waybill recover` at the site goes on",
        "rolled-back": "the site went back to the generation before",
        "inconsistent": "the site is inconsistent, and a person there must follow the rollback document",
    }[failure.end]
    if failure.act in ("migrate", "undo", "restore"):
        known = "" if failure.code == "step-failed" else f" ({_cause(failure)})"
        cut = "was cut off half-way" if failure.code == "interrupted" else f"failed half-way{known}"
        text = f"migration {failure.step} of {target} {cut}; {end}"
        yield Diagnosis("migration-halfway", text)
    elif failure.subject == "config":
        yield Diagnosis("config-wrong", f"the configuration of {target} does not work: {_what(failure)}; {end}")
    else:
        yield Diagnosis("change-failed", f"the {failure.action} of {target} failed: {_what(failure)}; {end}")


def _what(failure: ReportedFailure) -> str:
    if failure.act == "probe" and failure.step is not None:
        return f"probe {failure.step} did not pass"
    where = f"{failure.act}, step {failure.step}" if failure.step else failure.act
    return f"{_cause(failure)} ({where})"


def _cause(failure: ReportedFailure) -> str:
    return "cut off" if failure.code == "interrupted" else cause_text(failure.code)


def _disk(report: Report) -> Iterator[Diagnosis]:
    host = report.verifier.host
    if host is None:
        return
    if _is_low(host):
        percent = host.disk_free_mib * 100 // max(1, host.disk_total_mib)
        spent = "; the reserve is used up" if host.reserve_spent else ""
        text = f"the disk is nearly full: {host.disk_free_mib} of {host.disk_total_mib} MiB free ({percent} %){spent}"
        yield Diagnosis("disk-full", text)
    if host.inodes_free is not None and host.inodes_total and _is_below(host.inodes_free, host.inodes_total):
        text = f"the disk has room for few more files: {host.inodes_free} of {host.inodes_total} inodes free"
        yield Diagnosis("inodes-full", text)


def _is_low(host: HostState) -> bool:
    return _is_below(host.disk_free_mib, host.disk_total_mib) or host.disk_free_mib < host.reserve_mib


def _is_below(free: int, total: int) -> bool:
    return free * 100 < total * LOW_DISK_PERCENT


def _restarts(report: Report) -> Iterator[Diagnosis]:
    """Services that end by themselves; the file sets of one step share its service."""
    steps = {part.step: part for part in report.components.listed if part.restarts >= MANY_RESTARTS}
    for step, part in steps.items():
        now = ", and does not stay up" if part.reason == "failing" else ""
        text = f"the service of step {step} ended by itself {show_times(part.restarts)} and was started again{now}"
        yield Diagnosis("service-restarts", text)
    down = {part.step: part for part in report.components.listed if part.reason in ("failing", "stopped")}
    for step, part in down.items():
        if step not in steps:
            what = "does not stay up" if part.reason == "failing" else "is stopped"
            yield Diagnosis("service-down", f"the service of step {step} {what}")


def _images(report: Report) -> Iterator[Diagnosis]:
    lost = [part for part in report.components.listed if part.kind == "image" and _is_lost(part)]
    if lost:
        names = _names([f"{part.name} (step {part.step})" for part in lost])
        what = "image is" if len(lost) == 1 else "images are"
        text = f"{len(lost)} {what} missing or incomplete where the release placed {_them(lost)}: {names}"
        yield Diagnosis("image-missing", text)


def _is_lost(part: ReportedComponent) -> bool:
    return part.found == "missing" or (part.found == "unreadable" and part.reason == "incomplete")


def _them(parts: list[ReportedComponent]) -> str:
    return "it" if len(parts) == 1 else "them"


def _registry(report: Report) -> Iterator[Diagnosis]:
    words = {
        "unreachable": ("registry-unreachable", "the site's registry cannot be reached"),
        "login": ("registry-login", "the site's registry refuses the login"),
        "certificate": ("registry-certificate", "the certificate of the site's registry is not trusted"),
    }
    for reason, (finding, text) in words.items():
        names = [part.name for part in report.components.listed if part.reason == reason]
        if names:
            yield Diagnosis(finding, f"{text}; its images could not be looked at: {_names(names)}")


def _config(report: Report) -> Iterator[Diagnosis]:
    """A changed `site.yaml` that cannot be put into force."""
    if any(item.kind == f"config{REFUSED}" for item in report.waiting):
        yield Diagnosis("config-refused", "site.yaml was changed, and the change cannot be used as it is")


def _medium(report: Report) -> Iterator[Diagnosis]:
    medium = report.trust.medium
    if medium is not None:
        what = "was damaged" if medium.problem == "medium-damaged" else "could not be read"
        yield Diagnosis("medium-damaged", f"the last bundle {what} when it arrived ({medium.at}); carry it again")


def _clock(report: Report, before: Report | None) -> Iterator[Diagnosis]:
    trust, made_at = report.trust, report.chain.made_at
    if trust.clock != "plausible" and trust.time_floor is not None:
        off = abs(int((parse_time(made_at) - parse_time(trust.time_floor)).total_seconds()))
        relation = "behind" if trust.clock == "behind" else "beyond"
        proved = f"{trust.time_floor}, which a release proves"
        text = f"the site's clock is far off: {made_at} is {show_duration(off)} {relation} {proved}"
        yield Diagnosis("clock-off", text)
    elif trust.clock_back > (before.trust.clock_back if before is not None else 0):
        yield Diagnosis("clock-off", f"the site's clock went backwards, {show_times(trust.clock_back)}")


def _certificates(report: Report) -> Iterator[Diagnosis]:
    for certificate in report.verifier.certificates:
        if certificate.verdict == "not-trusted":
            text = f"the certificate of endpoint {certificate.endpoint} has expired or is not trusted"
            yield Diagnosis("certificate-expiry", text)
        elif _ends_soon(certificate):
            days = show_count(certificate.days or 0, "day")
            text = f"the certificate of endpoint {certificate.endpoint} expires in {days}"
            yield Diagnosis("certificate-expiry", text)


def _ends_soon(certificate: ReportedCertificate) -> bool:
    return certificate.days is not None and certificate.days < CERTIFICATE_DAYS


def _flapping(report: Report) -> Iterator[Diagnosis]:
    for health in report.health:
        changes = _changes(health)
        if changes >= FLAPPING_CHANGES:
            passed = health.recent.count("p")
            text = (
                f"probe {health.probe} flaps: {passed} of its last {len(health.recent)} results passed, "
                f"with {show_count(changes, 'change')} between passing and not"
            )
            yield Diagnosis("probe-flapping", text)


def _changes(health: ReportedHealth) -> int:
    return sum((first == "p") != (second == "p") for first, second in pairwise(health.recent))
