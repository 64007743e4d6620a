"""Plan a report: what it says, from the journal's state and an observation of the site. Pure."""

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from msgspec.structs import replace

from manifests.documents import report as r
from manifests.documents.release import FORMAT
from manifests.documents.report_condition import HostState, ReportedCertificate, ReportedMedium, VerifierState
from manifests.trust.rotation import MAX_SUCCESSION, SignedRotation
from manifests.words.digest import Blob
from manifests.words.errors import DamagedError
from manifests.words.time import optional_time, rfc3339
from verifier.reporting.report_condition import last_failure, with_recent
from verifier.reporting.report_reduce import fit, shorten_chain
from verifier.rules.time import clock_verdict
from verifier.site.folder import Site
from verifier.site.journal.events import Enrolled
from verifier.site.journal.installs import Generation, State
from verifier.site.journal.state import MAX_USED, SiteState
from verifier.site.vendor_access import reported_offboarding
from verifier.trust.findings import VERIFIER_VERSION

MAX_GENERATIONS = 32
MAX_REQUESTS = 256
# Of signals that are withheld, each an entry of `dropped`; more are one entry.
MAX_WITHHELD = 128


@dataclass(frozen=True)
class SiteObservation:
    """What was observed at the site for a report; the rest of the report comes from the journal.

    Attributes:
        enrolment: Digest of the enrolment's file.
        succession: Every rotation since that enrolment, oldest first.
        seal: See ``config_seal``; None without a config.
        held: Releases in the store; None if the contract or `site.yaml` withholds them.
        withheld: Fields and signals that the contract allows and `site.yaml` withholds.
        kit: Digest of the file that this program runs from.
        revoked: The running release is revoked.
        remains: What stays after the end of the vendor's access; None before it.
        unseen: Fields whose observation failed.
        current: The generation that ``current`` points at; the journal's where the link names none of this site.
            Used only if they differ.
        current_agrees: ``current`` points at the generation that the journal names.
        telemetry: Digest and size of the file with the report's telemetry; None without rows.
        left_out: What the telemetry leaves out.
        host, certificates: See ``report_condition``; no host if it could not be looked at.
    """

    enrolment: str
    report_every_seconds: int
    succession: tuple[SignedRotation, ...] = ()
    target: str | None = None
    labels: tuple[str, ...] = ()
    components: tuple[r.ReportedComponent, ...] = ()
    seal: str | None = None
    waiting: tuple[r.WaitingItem, ...] = ()
    health: tuple[r.ReportedHealth, ...] = ()
    held: tuple[r.HeldRelease, ...] | None = None
    kit: str | None = None
    revoked: bool = False
    remains: r.Remains | None = None
    withheld: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    current: Generation | None = None
    current_agrees: bool = True
    telemetry: Blob | None = None
    left_out: tuple[r.Dropped, ...] = ()
    host: HostState | None = None
    certificates: tuple[ReportedCertificate, ...] = ()


@dataclass(frozen=True)
class PreviousReport:
    """The report before this one; ``report`` is None when its file is missing or changed."""

    seq: int
    digest: str
    report: r.Report | None


def plan_report(
    state: SiteState, observed: SiteObservation, former: PreviousReport | None, *, cause: str, now: datetime
) -> r.Report:
    """Return the next report, within the size limit. ``former`` is None for the first report."""
    report = r.Report(
        identity=r.SiteIdentity(
            site=state.site,
            key_epoch=state.key_epoch,
            target=observed.target,
            labels=observed.labels,
            report_every_seconds=observed.report_every_seconds,
            succession=_succession(state, observed),
        ),
        chain=_chain(state, observed, former, cause, now),
        trust=_trust(state, observed, now),
        policy=_policy(state) if state.trust.policy_number else None,
        install=replace(_install(state, observed), revoked=observed.revoked, below_floor=state.below_floor),
        components=r.Components(listed=observed.components),
        config=r.ConfigState(
            schema_version=state.installs.running.config_version if state.installs.running else None, seal=observed.seal
        ),
        waiting=_waiting(observed, former, state.reports.seq + 1),
        approvals=tuple(_approvals(state)),
        health=_health(observed, former),
        rollbacks=_rollbacks(state),
        requests=_requests(state),
        dropped=_dropped(observed),
        verifier=VerifierState(
            version=VERIFIER_VERSION,
            format=FORMAT,
            kit=observed.kit,
            host=observed.host,
            certificates=observed.certificates,
        ),
        store=None if observed.held is None else r.Store(releases=observed.held),
    )
    return fit(report, observed.enrolment)


def _requests(state: SiteState) -> tuple[r.RequestResult, ...]:
    """Return the results of what the site's own people ran, then those of requests, which are left out last.

    What of their own only waits is not reported.
    """
    began = [use for use in state.reports.local if use.outcome != "waiting"]
    own = (*state.reports.used, *began)[-MAX_USED:]
    asked = state.reports.answered[-(MAX_REQUESTS - len(own)) :]
    return tuple(
        r.RequestResult(
            consignment=use.consignment or None,
            request=use.request,
            handler=use.handler,
            outcome=use.outcome,
            reason=use.reason,
            exit_code=use.exit_code,
            result=use.result,
        )
        for use in (*own, *asked)
    )


def _dropped(observed: SiteObservation) -> tuple[r.Dropped, ...]:
    withheld = [r.Dropped(what=what, reason="withheld", count=1) for what in observed.withheld]
    if len(withheld) > MAX_WITHHELD:
        withheld = [r.Dropped(what="several", reason="withheld", count=len(withheld))]
    unseen = (r.Dropped(what=what, reason="unreadable", count=1) for what in observed.unseen)
    return (*withheld, *unseen, *observed.left_out)


def _health(observed: SiteObservation, former: PreviousReport | None) -> tuple[r.ReportedHealth, ...]:
    """Return the result of each probe, with those in the report before."""
    report = former.report if former is not None else None
    return tuple(with_recent(health, report) for health in observed.health[:256])


def _succession(state: SiteState, observed: SiteObservation) -> tuple[SignedRotation, ...]:
    """Return the rotations that support needs to verify the signing key, until it acknowledges a report by that key."""
    acknowledged = state.reports.acknowledged[0] if state.reports.acknowledged else 0
    return tuple(one for one in observed.succession if one.rotation.after_seq >= acknowledged)[-MAX_SUCCESSION:]


def _chain(
    state: SiteState, observed: SiteObservation, former: PreviousReport | None, cause: str, now: datetime
) -> r.ChainLink:
    earlier, omitted, acknowledged = _earlier(former, state.reports.acknowledged)
    return r.ChainLink(
        seq=state.reports.seq + 1,
        previous=former.digest if former else observed.enrolment,
        made_at=rfc3339(now),
        cause=cause,
        challenge=state.reports.challenge,
        acknowledged=acknowledged,
        earlier=earlier,
        omitted=omitted,
        journal=r.ReportedJournal(entries=state.seq, head=state.head, torn=state.torn),
        telemetry=observed.telemetry,
    )


def _earlier(
    former: PreviousReport | None, known: tuple[int, str] | None
) -> tuple[tuple[r.Earlier, ...], r.Omitted | None, r.Acknowledged | None]:
    """Return the reports since the last acknowledged one, without the oldest if there are too many."""
    acknowledged = None if known is None else r.Acknowledged(seq=known[0], digest=known[1])
    acknowledged_seq = acknowledged.seq if acknowledged else 0
    if former is None or former.seq == acknowledged_seq:
        return (), None, acknowledged
    if former.report is None:
        return (), r.Omitted(first=acknowledged_seq + 1, last=former.seq, digest=former.digest), acknowledged
    chain, install = former.report.chain, former.report.install
    last = r.Earlier(
        seq=former.seq,
        digest=former.digest,
        made_at=chain.made_at,
        cause=chain.cause,
        release=install.release.digest if install.release else None,
        state=install.state,
    )
    since = tuple(one for one in (*chain.earlier, last) if one.seq > acknowledged_seq)
    gone = chain.omitted
    if gone is not None:
        gone = replace(gone, first=max(gone.first, acknowledged_seq + 1)) if gone.last > acknowledged_seq else None
    earlier, omitted = shorten_chain(since, gone, r.MAX_EARLIER, acknowledged)
    return earlier, omitted, acknowledged


def _trust(state: SiteState, observed: SiteObservation, now: datetime) -> r.Trust:
    offboarding = state.offboarding if state.offboarded else None
    root = offboarding.root if offboarding and offboarding.root else state.trust.root
    revocations = state.trust.revocations[0] if state.trust.revocations else 0
    medium = state.reports.medium
    return r.Trust(
        root=r.ReportedRoot(version=max(root.version, 1), digest=root.digest),
        practice=state.trust.practice,
        channel=state.channel,
        mark=state.mark,
        floor=state.floor,
        roots_replaced=state.trust.root_line,
        revocations=revocations,
        time_floor=optional_time(state.trust.time_floor),
        clock=clock_verdict(state.trust.time_floor, now),
        # The entry of this very report is not in the journal yet.
        clock_back=state.clock_back + (now < state.last_at),
        alarms=tuple(r.SeenAlarm(code=one.code, digest=one.digest) for one in state.alarms[-32:]),
        medium=ReportedMedium(problem=medium[0], at=rfc3339(medium[1])) if medium else None,
        offboarding=reported_offboarding(state, observed.remains),
    )


def _install(state: SiteState, observed: SiteObservation) -> r.Install:
    """Return the installed release, at most 32 generations, and the releases that were only ever rolled back."""
    running = state.installs.running if observed.current_agrees else observed.current
    shown = state.installs.generations[-MAX_GENERATIONS:]
    if running is not None and running not in shown:
        shown = (running, *shown[1:])
    blocked = {one.release for one in state.installs.generations if one.state == State.ROLLED_BACK}
    kept = {one.release for one in state.installs.generations if one.state in (State.CONFIRMED, State.SETTLED)}
    transaction = state.installs.transaction
    return r.Install(
        state=_install_state(state, observed),
        release=None
        if running is None
        else r.ReportedInstalled(
            generation=running.number,
            digest=running.release,
            product=running.product,
            version=running.version,
            channel=running.channel,
            epoch=running.mark.epoch,
            sequence=running.mark.sequence,
        ),
        trial_attempts=transaction.attempts
        if transaction is not None and transaction.open and transaction.switched
        else 0,
        generations=tuple(
            r.ReportedGeneration(
                number=generation.number,
                release=generation.release,
                version=generation.version,
                state=str(generation.state),
                outside_window=generation.outside_window,
            )
            for generation in shown
        ),
        blocked=tuple(sorted(blocked - kept))[:32],
        failure=last_failure(state),
    )


def _install_state(state: SiteState, observed: SiteObservation) -> r.ReportedInstallState:
    running = state.installs.running if observed.current_agrees else observed.current
    if running is None:
        return "none"
    if state.installs.inconsistent or not observed.current_agrees:
        return "inconsistent"
    return "confirmed" if running.state in (State.CONFIRMED, State.SETTLED) else "trial"


def _policy(state: SiteState) -> r.PolicyState:
    """Return the policy in force, with the last 16 uses of emergency rules."""
    numbers = {policy.digest: policy.number for policy in state.trust.policies}
    uses = {(use.rule, use.plan): use for use in state.trust.uses}
    founded = [policy.number for policy in state.trust.policies if policy.reason is not None]
    return r.PolicyState(
        emergency=tuple(
            r.EmergencyUse(
                rule=use.rule, policy=numbers[use.policy], release=use.release, plan=use.plan, at=rfc3339(use.at)
            )
            for use in [*uses.values()][-16:]
        ),
        number=state.trust.policy_number,
        digest=state.trust.policy,
        contract=state.installs.contract,
        refounded=founded[-1] if founded else None,
        first=state.trust.first_policy,
    )


def _waiting(observed: SiteObservation, former: PreviousReport | None, seq: int) -> tuple[r.WaitingItem, ...]:
    """Return the items that wait, each with the number of the first report that listed the same item."""
    rows = former.report.waiting if former and former.report else ()
    old = {(item.item, item.digest, item.since): item.since_seq for item in rows}
    return tuple(
        replace(item, since_seq=old.get((item.item, item.digest, item.since), seq)) for item in observed.waiting[:64]
    )


def _approvals(state: SiteState) -> Iterable[r.ReportedApproval]:
    """Return the approvals of the running generation, by role and key; names of people are not reported."""
    if state.installs.running is not None:
        for verdict in state.trust.verdicts:
            if verdict.envelope in state.installs.running.approvals:
                yield r.ReportedApproval(plan=verdict.plan, role=verdict.role, key=verdict.keyid)


def _rollbacks(state: SiteState) -> tuple[r.ReportedRollback, ...]:
    releases = {generation.number: generation.release for generation in state.installs.generations}
    return tuple(
        r.ReportedRollback(
            from_generation=rollback.source,
            to_generation=rollback.target,
            left=releases[rollback.source],
            cause=rollback.code,
            automatic=rollback.automatic,
            at=rfc3339(rollback.at),
            authorisation=rollback.authorisation,
        )
        for rollback in state.installs.rollbacks[-64:]
        if rollback.source in releases
    )


def config_seal(site: Site, config: bytes) -> str:
    """Return a keyed digest of the configuration, which shows a change of it to readers without the site's salt."""
    first = site.entries[0].record.event
    if not isinstance(first, Enrolled):
        raise DamagedError(
            "the journal does not begin with the enrolment",
            where="journal",
            remedy="keep the folder as it is and report this to support",
            finding="no-enrolment",
        )
    salt = bytes.fromhex(first.salt.removeprefix("sha256:"))
    return "sha256:" + hmac.new(salt, b"waybill config seal\0" + config, hashlib.sha256).hexdigest()
