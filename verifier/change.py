"""What an item would do here: the release, the config, the kinds of change, and the plan that people sign.

Nothing is written and nothing is remembered: every verb that needs a change works it out again from what is there.
"""

from dataclasses import dataclass, replace
from datetime import datetime

import msgspec

from content.head import VerifiedHead
from manifests.authorisation import SignedAuthorisation
from manifests.canonical import parse
from manifests.config_schema import MAX_SCHEMA
from manifests.contract import MAX_CONTRACT, Contract
from manifests.digest import digest_of
from manifests.errors import DamagedError, RefusedError, UsageError
from manifests.plan import Plan, parse_plan
from manifests.policy import Kind
from manifests.release import Release
from manifests.rollback import Rollback
from manifests.trust import Mark
from manifests.version import in_any
from verifier.authorisation import find_authorisation
from verifier.crew import LoadDriver, Work, crew_of, installed_of
from verifier.drivers.blobs import blob_path
from verifier.events import Action, Planned
from verifier.facts import facts_of, proposed_channel
from verifier.generations import Installed
from verifier.heads import read_kept_head
from verifier.host import owner_of
from verifier.policy import Before, check_release, kinds_of, lets_more_leave
from verifier.proposals import SiteProposal, check_identity, read_site_yaml, validate_config
from verifier.site import SITE_YAML, Site
from verifier.state import Generation, SiteState
from verifier.store import get_blob
from verifier.table import State
from verifier.verify import Finding, SiteFacts, judge_release, judge_way, refusal
from verifier.way_back import Back, changes_data, data_way, rollback_document
from verifier.windows import check_dates, effective_now

CONFIG = "config"


@dataclass(frozen=True)
class Change:
    """An item, worked out.

    Attributes:
        target: The generation that it makes, or goes back to.
        head: Of the release, for an install.
        contract: The telemetry contract that will be in force.
        rollback: How the release can be left; of a rollback, how the running one is left.
        proposers: Accounts that received it or own the file that proposes it.
        source: Where its bytes were last seen.
        more_leaves: What leaves by the new settings and did not before, in words.
        back: Of a rollback, how the data go back; None of an install.
        authorised: Of a rollback below the floor, the vendor's permission.
    """

    item: str
    plan: Plan
    planned: Planned
    installed: Installed
    head: VerifiedHead | None
    settings: bytes
    contract: Contract
    rollback: Rollback
    proposers: tuple[str, ...]
    source: str
    findings: tuple[Finding, ...] = ()
    more_leaves: tuple[str, ...] = ()

    @property
    def severities(self) -> tuple[str, ...]:
        """Of what the release fixes; a rollback fixes nothing."""
        return () if self.head is None else tuple(one.severity for one in self.release.fixes)

    @property
    def classes(self) -> tuple[str, ...]:
        """How it can be left; nothing that an emergency rule could be about when it brings no new release."""
        return (self.rollback.class_,) if self.head is not None and self.item != CONFIG else ()

    @property
    def then(self) -> str:
        return f"rollback --to {self.target}" if self.action == "rollback" else f"install {self.item}"

    back: Back | None = None
    authorised: SignedAuthorisation | None = None

    @property
    def release(self) -> Release:
        return self.installed.release

    @property
    def action(self) -> Action:
        return self.planned.action

    @property
    def target(self) -> int:
        return self.planned.target


@dataclass(frozen=True)
class Route:
    """Several releases on the way to a newer one: one plan, each hop a transaction and a generation of its own.

    Attributes:
        hops: Those that are still to be installed, in order; each names the plan of them all.
        done: How many of the plan's releases are installed already.
    """

    hops: tuple[Change, ...]
    plan: Plan
    done: int = 0

    @property
    def item(self) -> str:
        return self.hops[-1].item

    @property
    def items(self) -> tuple[str, ...]:
        return tuple(one.item for one in self.hops)

    @property
    def proposers(self) -> tuple[str, ...]:
        return tuple(sorted({name for one in self.hops for name in one.proposers}))

    @property
    def severities(self) -> tuple[str, ...]:
        return tuple(name for one in self.hops for name in one.severities)

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(name for one in self.hops for name in one.classes)

    @property
    def then(self) -> str:
        return f"install {' '.join(self.items)}"


@dataclass(frozen=True)
class Base:
    """What a change starts from: what runs, or what an earlier hop of the same route will have put there.

    Attributes:
        contract: Digest of the one in force; None before the first install.
        source, target: Numbers of the generation that is left, and of the one that is made.
    """

    before: Before | None
    contract: str | None
    channel: str
    source: int
    target: int


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
        return _release_change(site, item, now, None)
    if item.startswith("b-") and item[2:].isdigit():
        return rollback_change(site, int(item[2:]))
    raise UsageError(f"{item!r} is not an item", where="item", remedy="waybill review lists what waits")


def route_of(site: Site, items: tuple[str, ...]) -> Route:
    """Several releases as one plan; or what is left of it, when a part was installed and nothing else has changed.

    Raises:
        RefusedError: One of them cannot follow the one before.
    """
    state, now = site.state, site.host.now()
    if state.running is None:
        raise RefusedError(
            "the first install is of one release; it brings the telemetry contract",
            where=" ".join(items),
            remedy=f"waybill install {items[0]}",
            finding="nothing-installed",
        )
    if len(set(items)) != len(items) or not all(one.startswith("r-") for one in items):
        raise UsageError(
            "several items are several releases, each once, in the order in which they are installed", where="item"
        )
    begun = _begun(site, items)
    done, todo = (0, items) if begun is None else (begun[1], items[-(len(begun[0].releases) - begun[1]) :])
    hops: list[Change] = []
    for item in todo:
        last = item == todo[-1]
        hops.append(_release_change(site, item, now, hops[-1] if hops else None, last=last))
    plan = begun[0] if begun is not None else _joined(hops)
    same = all((one.plan.settings, one.plan.policy) == (plan.settings, plan.policy) for one in hops)
    if not same or (hops[-1].plan.config, hops[-1].plan.contract) != (plan.config, plan.contract):
        raise RefusedError(
            "site.yaml has changed since the first of them was installed",
            where=todo[0],
            remedy="what is left is a new plan: waybill review " + " ".join(todo),
            finding="plan-changed",
        )
    named = tuple(replace(one, planned=msgspec.structs.replace(one.planned, plan=plan.digest)) for one in hops)
    return Route(hops=named, plan=plan, done=done)


def _joined(hops: list[Change]) -> Plan:
    first, last = hops[0].plan, hops[-1].plan
    kinds: set[Kind] = {kind for one in hops for kind in one.plan.kinds}
    return msgspec.structs.replace(
        first,
        releases=tuple(release for one in hops for release in one.plan.releases),
        config=last.config,
        contract=last.contract,
        kinds=tuple(sorted(kinds)),
    )


def _begun(site: Site, items: tuple[str, ...]) -> tuple[Plan, int] | None:
    """The plan under which a part of ``items`` was installed, and how many; None when they are a plan of their own."""
    found = _under_way(site)
    if found is None:
        return None
    plan, done = found
    received = [site.state.received(item) for item in items]
    named = tuple(one.release for one in received if one is not None)
    return found if named in (plan.releases, plan.releases[done:]) else None


def _under_way(site: Site) -> tuple[Plan, int] | None:
    """The plan by which what runs was installed and by which more is to follow, and how many of it are installed.

    Only while the install of what runs is the last thing that happened to the site: neither a way back nor another
    policy, root or revocation list came after it.
    """
    state = site.state
    running, last = state.running, state.transaction
    if running is None or last is None or running.seq != state.last_change_seq:
        return None
    if last.action != "install" or last.planned.plan != running.plan:
        return None
    plan = parse_plan(site.document(running.plan))
    if running.release not in plan.releases:
        return None
    done = plan.releases.index(running.release) + 1
    return (plan, done) if done < len(plan.releases) else None


def items_of_plan(site: Site, plan: Plan) -> tuple[str, ...]:
    """The items by which people know the plan's releases, in order; empty when one was never received here."""
    items = {one.release: one.item for one in site.state.releases}
    found = tuple(items.get(one, "") for one in plan.releases)
    return found if all(found) else ()


def items_under_way(site: Site) -> tuple[str, ...]:
    """What to name to `install` to go on with a plan of several releases that was stopped; empty where none was."""
    found = _under_way(site)
    return () if found is None else items_of_plan(site, found[0])


def crew_for(site: Site, change: Change, load: LoadDriver) -> tuple[Work, ...]:
    """The drivers that the change needs. Raises RefusedError for one that this site lacks."""
    return crew_of(site, change.installed, load)


def _release_change(site: Site, item: str, now: datetime, after: Change | None, *, last: bool = True) -> Change:
    """Args: after: the hop before, None for what runs; last: not a hop on the way."""
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
    facts = _facts_after(facts_of(state, proposed_channel(site.path)), after)
    findings = (*judge_release(head, facts, now=now), *judge_way(head.release, facts))
    if (error := refusal(findings)) is not None:
        raise error
    dates = check_dates(site.policy, head.release, effective_now(now, state.time_floor), item)
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
        before=_before(site),
        contract=state.contract,
        channel=state.channel,
        source=state.current,
        target=state.next_generation,
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
    running = site.state.running
    edited = running is not None and (running.settings, running.config) != (change.plan.settings, change.plan.config)
    return tuple(sorted({*accounts, *((proposer_of_config(site),) if edited else ())}))


def proposer_of_config(site: Site) -> str:
    """Who owned ``site.yaml`` when it was first seen as it is now; who owns it, when nobody has looked yet."""
    subject = read_site_yaml(site.path).digest
    known = next((one for one in site.state.proposed if (one.item, one.subject) == (CONFIG, subject)), None)
    return known.account if known else owner_of(site.path / SITE_YAML)


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
        policy=state.policy,
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
        policy=state.policy,
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


def rollback_change(site: Site, number: int) -> Change:
    """Going back to an earlier generation, with the config that it had.

    Raises:
        RefusedError: It is not there, never worked, lies below the floor and nothing here authorises that, or the
            running release cannot be left so.
    """
    state = site.state
    target, running = state.generation(number), state.running
    item = f"b-{number}"
    _check_target(state, target, number, item)
    if target is None or running is None:
        raise AssertionError("checked above")
    installed = installed_of(site, target)
    leaving = installed_of(site, running)
    rollback = rollback_document(site, leaving.release)
    floor = state.floor_of(target.channel)
    # To another configuration of what runs, nothing new comes in below the floor. F-165
    below = floor is not None and target.mark < floor and target.release != running.release
    # It names both ends of the way, which `back_to` cannot promise below the floor. F-217
    authorised = find_authorisation(site, running, target, item) if below else None
    if running.release != target.release and not below and not in_any(target.version, rollback.back_to):
        raise RefusedError(
            f"{running.version} cannot be left for {target.version}, only for "
            f"{' or '.join(rollback.back_to) or 'nothing'}",
            where=item,
            remedy=f"to go forward, waybill install r-{target.version}",
            finding="back-to",
        )
    back = data_way(site, target, running, item)
    contract = parse(
        get_blob(site.blobs, installed.release.contract, MAX_CONTRACT), Contract, "contract", max_bytes=MAX_CONTRACT
    )
    more: tuple[Kind, ...] = (
        *(("below-floor",) if below else ()),
        *(("channel",) if target.channel != state.channel else ()),
    )
    kinds: tuple[Kind, ...] = (*more, "rollback")
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
        subject=authorised.fingerprint if authorised else None,
        kinds=kinds,
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
        kinds=kinds,
        document=back.document,
        authorisation=authorised.fingerprint if authorised else None,
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
        proposers=(),
        source="",
        back=back,
        authorised=authorised,
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


def _before(site: Site) -> Before | None:
    running = site.state.running
    if running is None:
        return None
    installed = installed_of(site, running)
    return Before(
        release=installed.release,
        digest=running.release,
        config=running.config,
        settings=running.settings,
        file=installed.settings,
    )
