"""Who must agree to a change, who has, and who is missing. Pure: the policy in force and the verdicts decide.

People are counted, not keys; the last word of a person on a plan is the one that counts.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from manifests.approval import SignedApproval
from manifests.authored import SiteFile
from manifests.contract import Contract
from manifests.errors import RefusedError, WaitingError
from manifests.plan import Plan
from manifests.policy import KINDS, Kind, Person, Policy
from manifests.release import Release
from manifests.version import change_kind

# What helps where those who brought a change are the ones who would have to agree.
OTHERS = "another account brings it with waybill receive, or a new policy lists more people"


class Asked(Protocol):
    """What people are asked to agree to.

    Attributes:
        proposers: Accounts that brought it; empty where nobody is held to be the proposer.
        severities: Of the advisories that it fixes, as the vendor signed; ``classes``: how it can be left. An emergency
            rule looks at both; without classes none applies.
        then: The verb that does it once they agree.
    """

    @property
    def item(self) -> str: ...
    @property
    def plan(self) -> Plan: ...
    @property
    def proposers(self) -> tuple[str, ...]: ...
    @property
    def severities(self) -> tuple[str, ...]: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def then(self) -> str: ...


def named(asked: Asked) -> str:
    """What people type to name it: the item, or several releases in order."""
    return asked.then.removeprefix("install ") if asked.then.startswith("install ") else asked.item


@dataclass(frozen=True)
class Question:
    """Something that is asked and that is about no release: an export, an offboarding."""

    item: str
    plan: Plan
    then: str
    proposers: tuple[str, ...] = ()
    severities: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Before:
    """What runs, as far as a change is weighed against it; ``file`` is what ``settings`` is the digest of."""

    release: Release
    digest: str
    config: str | None
    settings: str
    file: SiteFile | None = None


def kinds_of(
    before: Before | None,
    release: Release,
    digest: str,
    *,
    contract: str | None,
    config: str | None,
    settings: str,
    irreversible: bool,
    channel: str,
    more_leaves: bool = False,
) -> tuple[Kind, ...]:
    """What kinds of change it is to go from ``before`` to ``release``; ``contract`` is the one in force.

    A first install is ``major`` and ``contract``, whatever else it is.

    Args:
        channel: The one that the site follows.
        more_leaves: The new settings let more leave than the old ones, under one and the same contract.
    """
    found: set[Kind] = set()
    if release.channel != channel:
        found.add("channel")
    if before is None:
        found |= {"major", "contract"}
        if release.handlers:
            found.add("handlers")
    else:
        if digest != before.digest:
            found.add(change_kind(before.release.version, release.version))
            found |= _schema(before.release, release)
        if (config != before.config and not _schema(before.release, release)) or settings != before.settings:
            found.add("config")
        known = {one.name: one for one in before.release.handlers}
        if any(known.get(one.name) != one for one in release.handlers):
            found.add("handlers")
        if release.contract.digest != contract or more_leaves:
            found.add("contract")
    if irreversible:
        found.add("irreversible")
    return tuple(sorted(found))


def lets_more_leave(old: SiteFile, new: SiteFile, contract: Contract) -> tuple[str, ...]:
    """What leaves by ``new`` and did not by ``old``, in words; a contract is an upper bound that a site may narrow.

    A signal that is no longer withheld, a label that support did not see, an endpoint that begins to feed a signal or
    feeds it from elsewhere.
    """
    found = [f"{name} is no longer withheld" for name in old.telemetry.withhold if name not in new.telemetry.withhold]
    found += [f"label {name} will be seen" for name in new.labels if name not in old.labels]
    feeds: dict[str, list[str]] = {}
    for signal in contract.signals:
        for name in (signal.source.prometheus, signal.source.otlp) if signal.source else ():
            if name is not None:
                feeds.setdefault(name, []).append(signal.name)
    for name, signals in sorted(feeds.items()):
        if name in new.endpoints and new.endpoints[name] != old.endpoints.get(name):
            found.append(f"endpoint {name} feeds {', '.join(signals)}")
    return tuple(found)


def _schema(before: Release, release: Release) -> set[Kind]:
    return {"config-schema"} if before.config != release.config else set()


@dataclass(frozen=True)
class RoleStanding:
    """One role: how many are needed, and the people who agreed.

    Attributes:
        can: How many people of the role could agree to this; those who brought it may not count.
    """

    role: str
    need: int
    people: tuple[str, ...]
    can: int

    @property
    def have(self) -> int:
        return len(self.people)

    @property
    def missing(self) -> int:
        return max(0, self.need - self.have)

    @property
    def counted(self) -> str:
        stuck = "" if self.can >= self.need else f", and only {self.can} could: who brought it does not count"
        return f"{self.have} of {self.need}{stuck}"


@dataclass(frozen=True)
class Void:
    """A verdict on this item that counts no more.

    Attributes:
        finding: ``approval-person-left``, ``approval-older-policy`` or ``approval-other-plan``.
    """

    person: str
    verdict: str
    finding: str
    why: str


@dataclass(frozen=True)
class Standing:
    """Where an item stands.

    Attributes:
        approvals: The envelopes that are counted.
        rejected: People who said no; ``vetoed``: those of them whose role ends it.
        not_counted: People who agreed and do not count, because they proposed it.
        conditions: (person, words) of those who agreed under one.
        rule: Name of the emergency rule that is asked instead of the ordinary ones; empty for those.
        uses_left: Of that rule, this one included.
        emergency: Where it would stand by each emergency rule that somebody could ask for instead.
        void: What was said about another plan of this item.
    """

    roles: tuple[RoleStanding, ...]
    approvals: tuple[SignedApproval, ...]
    rejected: tuple[str, ...]
    vetoed: tuple[str, ...]
    not_counted: tuple[str, ...]
    conditions: tuple[tuple[str, str], ...] = ()
    rule: str = ""
    uses_left: int = 0
    emergency: tuple["Standing", ...] = ()
    void: tuple[Void, ...] = ()

    @property
    def met(self) -> bool:
        return not self.vetoed and all(one.missing == 0 for one in self.roles)

    @property
    def possible(self) -> bool:
        """Whether there are people enough who could agree."""
        return all(one.can >= one.need for one in self.roles)

    @property
    def missing(self) -> str:
        """Who is still to be asked, in words."""
        return ", ".join(f"{one.missing} {one.role}" for one in self.roles if one.missing)


def needs_of(policy: Policy, kinds: Iterable[Kind]) -> dict[str, int]:
    """The most that any of the kinds asks, role by role."""
    needs: dict[str, int] = {}
    for kind in kinds:
        for role, count in policy.rules[kind].items():
            needs[role] = max(needs.get(role, 0), count)
    return needs


def tight_roles(policy: Policy) -> tuple[tuple[str, int, tuple[Kind, ...]], ...]:
    """Roles of which some rule needs every person: (role, people, kinds of those rules)."""
    listed = [one.role for one in policy.people.values()]
    found = []
    for role in sorted(set(listed)):
        kinds = tuple(kind for kind in KINDS if policy.rules[kind].get(role, 0) >= listed.count(role))
        if kinds:
            found.append((role, listed.count(role), kinds))
    return tuple(found)


def stand(
    policy: Policy,
    needs: Mapping[str, int],
    said: Iterable[SignedApproval],
    proposers: Collection[str] = (),
    *,
    rule: str = "",
    uses_left: int = 0,
) -> Standing:
    """Count the verdicts on one plan, oldest first, each verified against ``policy``.

    Args:
        needs: How many people of which roles; see ``needs_of``.
        proposers: Accounts that brought the change; empty when nobody is held to be the proposer.
    """
    last = {one.person: one for one in said}
    agreed: dict[str, list[str]] = {}
    counted: list[SignedApproval] = []
    rejected, vetoed, not_counted, conditions = [], [], [], []
    for name, one in sorted(last.items()):
        person = policy.people[name]
        if one.approval.verdict == "reject":
            rejected.append(name)
            if person.role in policy.veto:
                vetoed.append(name)
        elif _brought(policy, person, proposers):
            not_counted.append(name)
        else:
            agreed.setdefault(person.role, []).append(name)
            counted.append(one)
            if one.approval.condition:
                conditions.append((name, one.approval.condition))
    able = [one.role for one in policy.people.values() if not _brought(policy, one, proposers)]
    roles = tuple(
        RoleStanding(role=role, need=need, people=tuple(agreed.get(role, ())), can=able.count(role))
        for role, need in sorted(needs.items())
    )
    return Standing(
        roles=roles,
        approvals=tuple(counted),
        rejected=tuple(rejected),
        vetoed=tuple(vetoed),
        not_counted=tuple(not_counted),
        conditions=tuple(conditions),
        rule=rule,
        uses_left=uses_left,
    )


def _brought(policy: Policy, person: Person, proposers: Collection[str]) -> bool:
    """Whether the person proposed the change, under a policy by which that counts against them."""
    return not policy.proposer_counts and not set(person.accounts).isdisjoint(proposers)


def require(standing: Standing, item: str) -> None:
    """Raise unless the people who are asked have agreed.

    Raises:
        RefusedError: Somebody whose role may do so has rejected it.
        WaitingError: Names the roles that are missing.
    """
    if standing.vetoed:
        raise RefusedError(
            f"{item} was rejected by {', '.join(standing.vetoed)}",
            where="policy",
            remedy="it stays rejected until they approve it themselves",
            finding="vetoed",
        )
    if not standing.met:
        have = "; ".join(f"{one.role}: {one.counted}" for one in standing.roles)
        aside = f"; not counted, because they brought it: {', '.join(standing.not_counted)}"
        rule = f", by the emergency rule {standing.rule}" if standing.rule else ""
        remedy = f"waybill review {item}, then waybill approve {item} --key KEY"
        if not standing.possible:
            remedy = f"nobody is left who could: {OTHERS}"
        for one in standing.emergency:
            remedy += f"; or by the emergency rule {one.rule}, "
            remedy += f"waybill install {item} --emergency {one.rule}" if one.met else f"which waits for {one.missing}"
        raise WaitingError(
            f"{item} waits for {standing.missing}{rule} ({have}{aside if standing.not_counted else ''})",
            where="policy",
            remedy=remedy,
            finding="approvals-missing",
        )


def check_release(policy: Policy, release: Release, item: str) -> None:
    """What the policy refuses whoever agrees.

    Raises:
        RefusedError: An audience of everyone, or unsigned images, where the policy says so.
    """
    if policy.refuse.everyone_audience and release.audience.everyone:
        raise RefusedError(
            "the release is addressed to everyone, which the policy refuses",
            where=item,
            remedy="ask the vendor to cut it for this customer",
            finding="everyone-audience",
        )
    unsigned = sorted(image.name for image in release.images if image.signed_by == "none")
    if policy.refuse.unsigned_images and unsigned:
        raise RefusedError(
            f"nobody signed {', '.join(unsigned)}, and the policy refuses unsigned images",
            where=item,
            remedy="ask the vendor to sign them",
            finding="unsigned-images",
        )
