"""Plan an install: the release, the config, the kinds of change, and the plan that people sign.

Nothing is written or cached: every command that needs a change computes it again from the site's folder.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from content.trust.head import VerifiedHead
from manifests.documents.plan import Plan
from manifests.documents.policy import ChangeRule
from manifests.documents.release import Release
from manifests.documents.rollback import Rollback
from manifests.trust.root import Mark
from manifests.words.digest import digest_of
from manifests.words.errors import DamagedError, RefusedError, UsageError
from verifier.change.item_ids import CONFIG
from verifier.change.release_papers import read_contract, read_rollback
from verifier.change.values import Change, planned_by
from verifier.rules.change_kinds import ConfiguredRelease, check_release, kinds_of, lets_more_leave
from verifier.rules.time import check_dates, effective_now
from verifier.site.blobs import blob_path
from verifier.site.folder import SITE_YAML, Site
from verifier.site.generations import Installed, read_installed
from verifier.site.host import owner_of
from verifier.site.proposals import SiteProposal, check_identity, config_for, config_problems, read_site_yaml
from verifier.site.releases import facts_of, proposed_channel, read_kept_head, read_schema, schema_name
from verifier.trust.findings import Finding, refusal
from verifier.trust.release_rules import SiteFacts, judge_release, judge_upgrade_path


@dataclass(frozen=True)
class _Base:
    """What a change starts from: what runs, or what the release before it on the same route will have installed.

    ``source`` is the generation before, 0 for none; ``target`` is the one to make.
    """

    before: ConfiguredRelease | None
    contract: str | None
    channel: str
    source: int
    target: int


def release_change(site: Site, item: str, now: datetime, after: Change | None, *, last: bool = True) -> Change:
    """Plan the install of a received release.

    Args:
        after: The change before it on the same route; None to start from what runs.
        last: Whether the route ends with this release; only then ``site.yaml`` must name its channel.

    Raises:
        UsageError: No such release was received.
        RefusedError: It runs already, or a rule of the release or of the site forbids it.
    """
    state = site.state
    received = state.installs.received(item)
    if received is None:
        raise UsageError(
            f"release {item!r} was not received at this site",
            where="item",
            remedy="run waybill receive BUNDLE, then waybill review",
        )
    running = state.installs.running
    if running is not None and running.release == received.release:
        raise RefusedError(
            f"release {received.version} runs already, as generation {running.number}",
            where=item,
            remedy="to put a changed site.yaml in force, run waybill review config",
            finding="runs-already",
        )
    head = read_kept_head(site, received.release)
    facts = _facts_after(facts_of(state, proposed_channel(site.path)), after)
    findings = (*judge_release(head, facts, now=now), *judge_upgrade_path(head.release, facts))
    if (error := refusal(findings)) is not None:
        raise error
    dates = check_dates(site.policy, head.release, effective_now(now, state.trust.time_floor), item)
    # The policy decides about dates here, so its findings replace the general one of ``judge_release``.
    findings = tuple(finding for finding in findings if finding.id != "late")
    findings += tuple(Finding(name, "warning", text) for name, text in dates)
    proposal = read_site_yaml(site.path)
    if last:
        check_identity(proposal, state, head.release.channel)
    change = _install(site, _PlannedInstall(item, head, proposal, _base(site, after), received.source, findings))
    proposers = {received.received_by}
    if running is not None and (running.settings, running.config) != (change.plan.settings, change.plan.config):
        # The install also puts an edit of `site.yaml` in force.
        proposers.add(proposer_of(site, CONFIG, proposal.digest, SITE_YAML))
    return replace(change, proposers=tuple(sorted(proposers)))


def _facts_after(facts: SiteFacts, after: Change | None) -> SiteFacts:
    """Return the site's facts as they will be once ``after`` is confirmed."""
    if after is None:
        return facts
    release = after.release
    channel = facts.towards(release.channel)
    floor = Mark(epoch=release.epoch, sequence=release.floor)
    moved = replace(channel, floor=max(floor, channel.floor) if channel.floor else floor)
    channels = {**facts.others, release.channel: moved}
    running = {name: replace(channel, running=release.version) for name, channel in channels.items()}
    return replace(facts, running=release.version, others=running)


def _base(site: Site, after: Change | None) -> _Base:
    if after is not None:
        planned, settings = after.planned, after.installed.settings
        before = ConfiguredRelease(after.release, planned.release, planned.config, planned.settings, settings)
        return _Base(before, planned.contract, planned.channel, source=planned.target, target=planned.target + 1)
    installs, channel = site.state.installs, site.state.channel
    if (running := installs.running) is None:
        return _Base(None, installs.contract, channel, source=installs.current, target=installs.next_generation)
    installed = read_installed(site, running)
    before = ConfiguredRelease(installed.release, running.release, running.config, running.settings, installed.settings)
    return _Base(before, installs.contract, channel, source=installs.current, target=installs.next_generation)


def proposer_of(site: Site, item: str, subject: str, file: str) -> str:
    """Return the account that owned ``file`` when the content ``subject`` was first recorded, else its owner now."""
    accounts = (seen.account for seen in site.state.trust.proposed if (seen.item, seen.subject) == (item, subject))
    return next(accounts, None) or owner_of(site.path / file)


def config_change(site: Site, now: datetime) -> Change:
    """Plan a new generation of the running release with the config that ``site.yaml`` holds now.

    Raises RefusedError when nothing is installed, or ``site.yaml`` holds no change.
    """
    running = site.state.installs.running
    if running is None:
        raise RefusedError(
            "nothing is installed yet; site.yaml is part of the first install",
            where=CONFIG,
            remedy="run waybill review to see which releases can be installed",
            finding="nothing-installed",
        )
    head = read_kept_head(site, running.release)
    findings = judge_release(head, facts_of(site.state), now=now)
    if (error := refusal(findings)) is not None:
        raise error
    proposal = read_site_yaml(site.path)
    if proposal.unfilled:
        raise proposal.unfilled[0].error
    check_identity(proposal, site.state, running.channel)
    change = _install(site, _PlannedInstall(CONFIG, head, proposal, _base(site, None), "", findings))
    return replace(change, proposers=(proposer_of(site, CONFIG, proposal.digest, SITE_YAML),))


def _check_documents_held(site: Site, release: Release, item: str) -> None:
    """Raise DamagedError when documents were removed: a skipped release can be newer again after a rollback."""
    schema = () if release.config is None else (release.config.schema,)
    documents = (release.contract, release.rollback, *schema)
    if any(not blob_path(site.blobs, document.digest).exists() for document in documents):
        raise DamagedError(
            f"the store no longer holds the documents of release {release.version}",
            where=item,
            remedy="receive its bundle again: waybill receive BUNDLE",
            finding="release-gone",
        )


@dataclass(frozen=True)
class _PlannedInstall:
    """What is to be installed, and over what; ``source`` is the path of the bundle when it was received."""

    item: str
    head: VerifiedHead
    proposal: SiteProposal
    base: _Base
    source: str
    findings: tuple[Finding, ...]


def _install(site: Site, wanted: _PlannedInstall) -> Change:
    """Return the change; its proposers are left out."""
    state, release, base, settings = site.state, wanted.head.release, wanted.base, wanted.proposal.settings
    check_release(site.policy, release, wanted.item)
    _check_documents_held(site, release, wanted.item)
    contract = read_contract(site, release)
    rollback = read_rollback(site, release)
    schema = read_schema(site, release)
    # A configuration that does not fit is shown with the release all the same, and neither approved nor installed.
    config = config_for(wanted.proposal, schema)
    before = base.before
    more = () if before is None or before.file is None else lets_more_leave(before.file, wanted.proposal.site, contract)
    config_digest = None if config is None else digest_of(config)
    after = ConfiguredRelease(release, wanted.head.release_digest, config_digest, digest_of(settings))
    plan = Plan(
        site=state.site,
        site_key=state.site_key.keyid,
        action="install",
        generation=base.target,
        last_change=state.last_change,
        releases=(after.digest,),
        config=after.config,
        settings=after.settings,
        policy=state.trust.policy,
        contract=release.contract.digest,
        kinds=_kinds(wanted, after, rollback, more_leaves=bool(more)),
    )
    # A new config alone changes no data.
    migrates = (before is None or before.digest != after.digest) and bool(rollback.backup or rollback.steps)
    return Change(
        item=wanted.item,
        plan=plan,
        planned=planned_by(plan, wanted.item, release, base.source, document=base.target if migrates else 0),
        installed=Installed(number=base.target, release=release, settings=wanted.proposal.site, config=config),
        head=wanted.head,
        settings=settings,
        contract=contract,
        rollback=rollback,
        source=wanted.source,
        findings=wanted.findings,
        unfilled=wanted.proposal.unfilled,
        wrong_config=config_problems(wanted.proposal, schema, schema_name(release)),
        more_leaves=more,
    )


def _kinds(
    wanted: _PlannedInstall, after: ConfiguredRelease, rollback: Rollback, *, more_leaves: bool
) -> tuple[ChangeRule, ...]:
    """Return the kinds of the change. Raises RefusedError when nothing would change."""
    kinds = kinds_of(
        wanted.base.before,
        after,
        contract=wanted.base.contract,
        irreversible=rollback.class_ == "irreversible",
        channel=wanted.base.channel,
        more_leaves=more_leaves,
    )
    if not kinds:
        raise RefusedError(
            "site.yaml holds no change; it equals the configuration in force",
            where=wanted.item,
            remedy="edit site.yaml first",
            finding="nothing-to-do",
        )
    return kinds
