"""What an item would do here: the release, the config, the kinds of change, and the plan that people sign.

Nothing is written and nothing is remembered: every verb that needs a change works it out again from what is there.
"""

from dataclasses import dataclass
from datetime import datetime

from content.head import VerifiedHead
from manifests.approval import SignedApproval, verify_approval
from manifests.canonical import parse
from manifests.config_schema import MAX_SCHEMA
from manifests.contract import MAX_CONTRACT, Contract
from manifests.digest import digest_of
from manifests.errors import RefusedError, UntrustedError, UsageError
from manifests.plan import Plan
from manifests.policy import Policy
from manifests.release import Release
from manifests.rollback import MAX_ROLLBACK, Rollback
from manifests.trust import Mark
from manifests.version import in_any
from verifier.crew import LoadDriver, Work, crew_of, installed_of
from verifier.events import Action, Planned
from verifier.facts import facts_of
from verifier.generations import Installed
from verifier.heads import read_kept_head
from verifier.policy import Before, Standing, check_judged, check_release, kinds_of, stand
from verifier.proposals import SiteProposal, check_identity, read_site_yaml, validate_config
from verifier.site import Site
from verifier.state import Generation, SiteState
from verifier.store import get_blob
from verifier.table import State
from verifier.verify import Finding, judge_release, judge_way, refusal

CONFIG = "config"


@dataclass(frozen=True)
class Change:
    """An item, worked out.

    Attributes:
        target: The generation that it makes, or goes back to.
        head: Of the release, for an install.
        contract: The telemetry contract that will be in force.
        rollback: How the release can be left; of a rollback, how the running one is left.
        proposer: Account that received it, None where nobody did.
        source: Where its bytes were last seen.
    """

    item: str
    plan: Plan
    planned: Planned
    installed: Installed
    head: VerifiedHead | None
    settings: bytes
    contract: Contract
    rollback: Rollback
    proposer: str | None
    source: str
    findings: tuple[Finding, ...] = ()

    @property
    def release(self) -> Release:
        return self.installed.release

    @property
    def action(self) -> Action:
        return self.planned.action

    @property
    def target(self) -> int:
        return self.planned.target


def change_of(site: Site, item: str) -> Change:
    """Work out the item with this id.

    Raises:
        UsageError: No such item.
        WaybillError: It cannot be done here; the message says why, and nothing was changed.
    """
    now = site.host.now()
    if item == CONFIG:
        return _config_change(site, now)
    if item.startswith("r-"):
        return _release_change(site, item, now)
    if item.startswith("b-") and item[2:].isdigit():
        return rollback_change(site, int(item[2:]))
    raise UsageError(f"{item!r} is not an item", where="item", remedy="waybill review lists what waits")


def crew_for(site: Site, change: Change, load: LoadDriver) -> tuple[Work, ...]:
    """The drivers that the change needs. Raises RefusedError for one that this site lacks."""
    return crew_of(site, change.installed, load)


def verdicts_on(site: Site, policy: Policy, change: Change) -> tuple[SignedApproval, ...]:
    """What people of the policy in force said about this very plan, each signature verified again.

    A verdict by somebody whom the policy no longer lists does not count.
    """
    found = []
    for said in site.state.verdicts:
        if said.plan != change.plan.digest:
            continue
        try:
            one = verify_approval(site.document(said.envelope), policy, f"approval of {said.person}")
        except RefusedError:
            continue
        if one.approval.plan != change.plan.digest:
            raise UntrustedError(
                "an approval is recorded for another plan than it names",
                where="journal",
                remedy="the journal was edited; keep the folder as it is and tell support",
            )
        found.append(one)
    return tuple(found)


def standing_of(site: Site, change: Change) -> Standing:
    policy = site.policy
    return stand(policy, change.plan.kinds, verdicts_on(site, policy, change), change.proposer)


def _release_change(site: Site, item: str, now: datetime) -> Change:
    state = site.state
    received = state.received(item)
    if received is None:
        raise UsageError(
            f"{item!r} was not received here", where="item", remedy="waybill receive BUNDLE, then waybill review"
        )
    running = state.running
    if running is not None and running.release == received.release:
        raise RefusedError(
            f"{received.version} runs already, as generation {running.number}",
            where=item,
            remedy="after a change of site.yaml the item is `config`",
            finding="runs-already",
        )
    head = read_kept_head(site, received.release)
    facts = facts_of(state)
    findings = (*judge_release(head, facts, now=now), *judge_way(head.release, facts))
    if (error := refusal(findings)) is not None:
        raise error
    proposal = read_site_yaml(site.path)
    return _install(site, item, head, proposal, received.received_by, received.source, findings)


def _config_change(site: Site, now: datetime) -> Change:
    running = site.state.running
    if running is None:
        raise RefusedError(
            "nothing is installed yet; site.yaml is part of the first install",
            where=CONFIG,
            remedy="waybill review",
            finding="nothing-installed",
        )
    head = read_kept_head(site, running.release)
    findings = judge_release(head, facts_of(site.state), now=now)
    if (error := refusal(findings)) is not None:
        raise error
    change = _install(site, CONFIG, head, read_site_yaml(site.path), None, "", findings)
    if not change.plan.kinds:
        raise AssertionError("a change of nothing")
    return change


def _install(
    site: Site,
    item: str,
    head: VerifiedHead,
    proposal: SiteProposal,
    proposer: str | None,
    source: str,
    findings: tuple[Finding, ...],
) -> Change:
    state, release = site.state, head.release
    check_identity(proposal, state)
    check_release(site.policy, release, item)
    contract = parse(get_blob(site.blobs, release.contract, MAX_CONTRACT), Contract, "contract", max_bytes=MAX_CONTRACT)
    rollback = _rollback_document(site, release)
    _check_undoable(rollback, item)
    schema = None if release.config is None else get_blob(site.blobs, release.config.schema, MAX_SCHEMA)
    config = validate_config(proposal, schema)
    config_digest = None if config is None else digest_of(config)
    kinds = kinds_of(
        _before(site),
        release,
        head.release_digest,
        contract=state.contract,
        config=config_digest,
        settings=digest_of(proposal.settings),
        irreversible=rollback.class_ == "irreversible",
    )
    if not kinds:
        raise RefusedError(
            "site.yaml says what is in force already",
            where=item,
            remedy="edit site.yaml first",
            finding="nothing-to-do",
        )
    check_judged(kinds, item)
    plan = Plan(
        site=state.site,
        site_key=state.site_key.keyid,
        action="install",
        generation=state.next_generation,
        last_change=state.last_change,
        releases=(head.release_digest,),
        config=config_digest,
        settings=digest_of(proposal.settings),
        policy=state.policy,
        contract=release.contract.digest,
        kinds=kinds,
    )
    planned = Planned(
        action="install",
        item=item,
        plan=plan.digest,
        source=state.current,
        target=state.next_generation,
        release=head.release_digest,
        product=release.product,
        version=release.version,
        channel=release.channel,
        mark=release.mark,
        floor=release.floor,
        config=config_digest,
        config_version=release.config.version if release.config else None,
        settings=digest_of(proposal.settings),
        contract=release.contract.digest,
        policy=state.policy,
        kinds=kinds,
    )
    installed = Installed(number=state.next_generation, release=release, settings=proposal.site, config=config)
    return Change(
        item=item,
        plan=plan,
        planned=planned,
        installed=installed,
        head=head,
        settings=proposal.settings,
        contract=contract,
        rollback=rollback,
        proposer=proposer,
        source=source,
        findings=findings,
    )


def rollback_change(site: Site, number: int) -> Change:
    """Going back to an earlier generation, with the config that it had.

    Raises:
        RefusedError: It is not there, never worked, lies below the floor, or the running release cannot be left so.
    """
    state = site.state
    target, running = state.generation(number), state.running
    item = f"b-{number}"
    _check_target(state, target, number, item)
    if target is None or running is None:
        raise AssertionError("checked above")
    installed = installed_of(site, target)
    leaving = installed_of(site, running)
    rollback = _rollback_document(site, leaving.release)
    if running.release != target.release and not in_any(target.version, rollback.back_to):
        raise RefusedError(
            f"{running.version} cannot be left for {target.version}, only for "
            f"{' or '.join(rollback.back_to) or 'nothing'}",
            where=item,
            remedy=f"to go forward, waybill install r-{target.version}",
            finding="back-to",
        )
    _check_undoable(rollback, item)
    contract = parse(
        get_blob(site.blobs, installed.release.contract, MAX_CONTRACT), Contract, "contract", max_bytes=MAX_CONTRACT
    )
    plan = Plan(
        site=state.site,
        site_key=state.site_key.keyid,
        action="rollback",
        generation=number,
        last_change=state.last_change,
        releases=(target.release,),
        config=target.config,
        settings=target.settings,
        policy=state.policy,
        contract=target.contract,
        kinds=("rollback",),
    )
    planned = Planned(
        action="rollback",
        item=item,
        plan=plan.digest,
        source=state.current,
        target=number,
        release=target.release,
        product=target.product,
        version=target.version,
        channel=target.channel,
        mark=target.mark,
        floor=target.floor,
        config=target.config,
        config_version=target.config_version,
        settings=target.settings,
        contract=target.contract,
        policy=state.policy,
        kinds=("rollback",),
    )
    return Change(
        item=item,
        plan=plan,
        planned=planned,
        installed=installed,
        head=None,
        settings=b"",
        contract=contract,
        rollback=rollback,
        proposer=None,
        source="",
    )


def _check_target(state: SiteState, target: Generation | None, number: int, item: str) -> None:
    if state.running is None:
        raise RefusedError(
            "nothing is installed", where=item, remedy="waybill review lists what waits", finding="nothing-installed"
        )
    if target is None:
        raise RefusedError(
            f"there is no generation {number}", where=item, remedy="waybill status lists them", finding="no-generation"
        )
    if number == state.current:
        raise RefusedError(
            f"generation {number} runs already", where=item, remedy="waybill status lists them", finding="runs-already"
        )
    if target.state not in (State.CONFIRMED, State.SETTLED):
        raise RefusedError(
            f"generation {number} never worked here ({target.state})",
            where=item,
            remedy="choose one that was confirmed",
            finding="never-confirmed",
        )
    floor: Mark | None = state.floor
    if floor is not None and target.mark < floor:
        raise RefusedError(
            f"generation {number} has sequence {target.mark.sequence}, below the floor {floor.sequence}",
            where=item,
            remedy="going below the floor needs the vendor's rollback authorisation",
            finding="below-floor",
        )


def _rollback_document(site: Site, release: Release) -> Rollback:
    data = get_blob(site.blobs, release.rollback, MAX_ROLLBACK)
    return parse(data, Rollback, "rollback", max_bytes=MAX_ROLLBACK)


def _check_undoable(rollback: Rollback, item: str) -> None:
    """Backups are made and migrations run by the `program` driver, which this verifier does not have."""
    if rollback.backup:
        raise RefusedError(
            f"the release wants a backup ({', '.join(one.name for one in rollback.backup)}) and this verifier "
            "makes none yet",
            where=item,
            remedy="use a verifier that does; nothing was changed",
            finding="backup-not-judged",
        )


def _before(site: Site) -> Before | None:
    running = site.state.running
    if running is None:
        return None
    return Before(
        release=installed_of(site, running).release,
        digest=running.release,
        config=running.config,
        settings=running.settings,
    )
