"""What an item would do here: the release, the config, the kinds of change, and the plan that people sign.

Nothing is written and nothing is remembered: every verb that needs a change works it out again from what is there.
"""

from dataclasses import replace
from datetime import datetime

from content.trust.head import VerifiedHead
from manifests.documents.contract import MAX_CONTRACT, Contract
from manifests.documents.plan import Plan
from manifests.documents.release import Release
from manifests.foreign.config_schema import MAX_SCHEMA
from manifests.trust.root import Mark
from manifests.words.canonical import parse
from manifests.words.digest import digest_of
from manifests.words.errors import DamagedError, RefusedError, UsageError
from verifier.change.data_return import changes_data, rollback_document
from verifier.change.driver_steps import DriverStep, LoadDriver, driver_steps
from verifier.change.values import CONFIG, Base, Change
from verifier.rules.change_kinds import Before, check_release, kinds_of, lets_more_leave
from verifier.rules.time import check_dates, effective_now
from verifier.site.blobs import blob_path
from verifier.site.facts import facts_of, proposed_channel
from verifier.site.folder import SITE_YAML, Site
from verifier.site.generations import Installed, read_installed
from verifier.site.host import owner_of
from verifier.site.journal.events import Planned
from verifier.site.proposals import SiteProposal, check_identity, read_site_yaml, validate_config
from verifier.site.release_heads import read_kept_head
from verifier.site.store import get_blob
from verifier.trust.findings import Finding, refusal
from verifier.trust.release_rules import SiteFacts, judge_release, judge_way


def driver_steps_for(site: Site, change: Change, load: LoadDriver) -> tuple[DriverStep, ...]:
    """The drivers that the change needs. Raises RefusedError for one that this site lacks."""
    return driver_steps(site, change.installed, load)


def release_change(site: Site, item: str, now: datetime, after: Change | None, *, last: bool = True) -> Change:
    """Args: after: the hop before, None for what runs; last: not a hop on the way."""
    state = site.state
    received = state.installs.received(item)
    if received is None:
        raise UsageError(
            f"{item!r} was not received here", where="item", remedy="waybill receive BUNDLE, then waybill review"
        )
    running = state.installs.running
    if running is not None and running.release == received.release:
        raise RefusedError(
            f"{received.version} runs already, as generation {running.number}",
            where=item,
            remedy="after a change of site.yaml the item is `config`",
            finding="runs-already",
        )
    head = read_kept_head(site, received.release)
    facts = _facts_after(facts_of(state, proposed_channel(site.path)), after)
    findings = (*judge_release(head, facts, now=now), *judge_way(head.release, facts))
    if (error := refusal(findings)) is not None:
        raise error
    dates = check_dates(site.policy, head.release, effective_now(now, state.trust.time_floor), item)
    findings = tuple(one for one in findings if one.id != "late")
    findings += tuple(Finding(finding, "warning", words) for finding, words in dates)
    proposal = read_site_yaml(site.path)
    if last:
        check_identity(proposal, state, head.release.channel)
    base = _base(site) if after is None else _base_after(after)
    change = _install(site, item, head, proposal, base, received.source, findings)
    return replace(change, proposers=_proposers(site, change, received.received_by))


def _facts_after(facts: SiteFacts, after: Change | None) -> SiteFacts:
    """What will be so once the hop before is confirmed."""
    if after is None:
        return facts
    release = after.release
    here = facts.towards(release.channel)
    floor = Mark(epoch=release.epoch, sequence=release.floor)
    moved = replace(here, floor=max(floor, here.floor) if here.floor else floor)
    others = {**facts.others, release.channel: moved}
    running = {name: replace(one, running=release.version) for name, one in others.items()}
    return replace(facts, running=release.version, others=running)


def _base(site: Site) -> Base:
    state = site.state
    return Base(
        before=before_change(site),
        contract=state.installs.contract,
        channel=state.channel,
        source=state.installs.current,
        target=state.installs.next_generation,
    )


def _base_after(hop: Change) -> Base:
    planned = hop.planned
    return Base(
        before=Before(
            release=hop.release,
            digest=planned.release,
            config=planned.config,
            settings=planned.settings,
            file=hop.installed.settings,
        ),
        contract=planned.contract,
        channel=planned.channel,
        source=planned.target,
        target=planned.target + 1,
    )


def _proposers(site: Site, change: Change, *accounts: str) -> tuple[str, ...]:
    """Who brought it, and whose edit of ``site.yaml`` it puts in force."""
    running = site.state.installs.running
    edited = running is not None and (running.settings, running.config) != (change.plan.settings, change.plan.config)
    return tuple(sorted({*accounts, *((proposer_of_config(site),) if edited else ())}))


def proposer_of_config(site: Site) -> str:
    """Who owned ``site.yaml`` when it was first seen as it is now; who owns it, when nobody has looked yet."""
    subject = read_site_yaml(site.path).digest
    known = next((one for one in site.state.trust.proposed if (one.item, one.subject) == (CONFIG, subject)), None)
    return known.account if known else owner_of(site.path / SITE_YAML)


def config_change(site: Site, now: datetime) -> Change:
    running = site.state.installs.running
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
    proposal = read_site_yaml(site.path)
    check_identity(proposal, site.state, running.channel)
    change = _install(site, CONFIG, head, proposal, _base(site), "", findings)
    return replace(change, proposers=(proposer_of_config(site),))


def _check_here(site: Site, release: Release, item: str) -> None:
    """A release that was passed by is cleared away, and may be ahead again after a way back."""
    schema = () if release.config is None else (release.config.schema,)
    if any(not blob_path(site.blobs, one.digest).exists() for one in (release.contract, release.rollback, *schema)):
        raise DamagedError(
            f"documents of {release.version} are not kept here any more",
            where=item,
            remedy="bring its medium again: waybill receive BUNDLE",
            finding="release-gone",
        )


def _install(
    site: Site,
    item: str,
    head: VerifiedHead,
    proposal: SiteProposal,
    base: Base,
    source: str,
    findings: tuple[Finding, ...],
) -> Change:
    state, release = site.state, head.release
    check_release(site.policy, release, item)
    _check_here(site, release, item)
    contract = parse(get_blob(site.blobs, release.contract, MAX_CONTRACT), Contract, "contract", max_bytes=MAX_CONTRACT)
    rollback = rollback_document(site, release)
    schema = None if release.config is None else get_blob(site.blobs, release.config.schema, MAX_SCHEMA)
    config = validate_config(proposal, schema)
    config_digest = None if config is None else digest_of(config)
    file = base.before.file if base.before is not None else None
    more = lets_more_leave(file, proposal.site, contract) if file is not None else ()
    kinds = kinds_of(
        base.before,
        release,
        head.release_digest,
        contract=base.contract,
        config=config_digest,
        settings=digest_of(proposal.settings),
        irreversible=rollback.class_ == "irreversible",
        channel=base.channel,
        more_leaves=bool(more),
    )
    if not kinds:
        raise RefusedError(
            "site.yaml says what is in force already",
            where=item,
            remedy="edit site.yaml first",
            finding="nothing-to-do",
        )
    former = None if base.before is None else base.before.digest
    plan = Plan(
        site=state.site,
        site_key=state.site_key.keyid,
        action="install",
        generation=base.target,
        last_change=state.last_change,
        releases=(head.release_digest,),
        config=config_digest,
        settings=digest_of(proposal.settings),
        policy=state.trust.policy,
        contract=release.contract.digest,
        kinds=kinds,
    )
    planned = Planned(
        action="install",
        item=item,
        plan=plan.digest,
        source=base.source,
        target=base.target,
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
        policy=state.trust.policy,
        kinds=kinds,
        document=base.target if changes_data(rollback, former, head.release_digest) else 0,
    )
    installed = Installed(number=base.target, release=release, settings=proposal.site, config=config)
    return Change(
        item=item,
        plan=plan,
        planned=planned,
        installed=installed,
        head=head,
        settings=proposal.settings,
        contract=contract,
        rollback=rollback,
        proposers=(),
        source=source,
        findings=findings,
        more_leaves=more,
    )


def before_change(site: Site) -> Before | None:
    running = site.state.installs.running
    if running is None:
        return None
    installed = read_installed(site, running)
    return Before(
        release=installed.release,
        digest=running.release,
        config=running.config,
        settings=running.settings,
        file=installed.settings,
    )
