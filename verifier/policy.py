"""Who must agree to a change, who has, and who is missing. Pure: the policy in force and the verdicts decide.

People are counted, not keys; the last word of a person on a plan is the one that counts.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from manifests.approval import SignedApproval
from manifests.errors import RefusedError, WaitingError
from manifests.policy import Kind, Policy
from manifests.release import Release
from manifests.version import change_kind

# What this verifier can tell apart and weigh; anything else is refused by name rather than waved through.
JUDGED: frozenset[Kind] = frozenset(
    ("patch", "minor", "major", "config", "config-schema", "contract", "handlers", "irreversible", "rollback", "export")
)


@dataclass(frozen=True)
class Before:
    """What runs, as far as a change is weighed against it."""

    release: Release
    digest: str
    config: str | None
    settings: str


def kinds_of(
    before: Before | None,
    release: Release,
    digest: str,
    *,
    contract: str | None,
    config: str | None,
    settings: str,
    irreversible: bool,
) -> tuple[Kind, ...]:
    """What kinds of change it is to go from ``before`` to ``release``; ``contract`` is the one in force.

    A first install is ``major`` and ``contract``, whatever else it is.
    """
    found: set[Kind] = set()
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
        if release.contract.digest != contract:
            found.add("contract")
    if irreversible:
        found.add("irreversible")
    return tuple(sorted(found))


def _schema(before: Release, release: Release) -> set[Kind]:
    return {"config-schema"} if before.config != release.config else set()


@dataclass(frozen=True)
class RoleStanding:
    """One role: how many are needed, and the people who agreed."""

    role: str
    need: int
    people: tuple[str, ...]

    @property
    def have(self) -> int:
        return len(self.people)

    @property
    def missing(self) -> int:
        return max(0, self.need - self.have)


@dataclass(frozen=True)
class Standing:
    """Where an item stands.

    Attributes:
        approvals: The envelopes that are counted.
        rejected: People who said no; ``vetoed``: those of them whose role ends it.
        not_counted: People who agreed and do not count, because they proposed it.
    """

    roles: tuple[RoleStanding, ...]
    approvals: tuple[SignedApproval, ...]
    rejected: tuple[str, ...]
    vetoed: tuple[str, ...]
    not_counted: tuple[str, ...]

    @property
    def met(self) -> bool:
        return not self.vetoed and all(one.missing == 0 for one in self.roles)

    @property
    def missing(self) -> str:
        """Who is still to be asked, in words."""
        return ", ".join(f"{one.missing} {one.role}" for one in self.roles if one.missing)


def check_judged(kinds: Iterable[str], where: str) -> None:
    """Raise RefusedError for a kind of change that this verifier cannot weigh yet."""
    unknown = sorted(set(kinds) - JUDGED)
    if unknown:
        raise RefusedError(
            f"a change of kind {', '.join(unknown)} is not judged by this verifier yet",
            where=where,
            remedy="use a verifier that judges it",
            finding="kind-not-judged",
        )


def needs_of(policy: Policy, kinds: tuple[Kind, ...]) -> dict[str, int]:
    """The most that any of the kinds asks, role by role."""
    check_judged(kinds, "policy")
    needs: dict[str, int] = {}
    for kind in kinds:
        for role, count in policy.rules[kind].items():
            needs[role] = max(needs.get(role, 0), count)
    return needs


def stand(policy: Policy, kinds: tuple[Kind, ...], said: Iterable[SignedApproval], proposer: str | None) -> Standing:
    """Count the verdicts on one plan, oldest first, each verified against ``policy``.

    Args:
        proposer: The account that received the change, None when nobody is held to be the proposer.
    """
    last = {one.person: one for one in said}
    agreed: dict[str, list[str]] = {}
    counted: list[SignedApproval] = []
    rejected, vetoed, not_counted = [], [], []
    for name, one in sorted(last.items()):
        person = policy.people[name]
        if one.approval.verdict == "reject":
            rejected.append(name)
            if person.role in policy.veto:
                vetoed.append(name)
        elif not policy.proposer_counts and proposer is not None and proposer in person.accounts:
            not_counted.append(name)
        else:
            agreed.setdefault(person.role, []).append(name)
            counted.append(one)
    roles = tuple(
        RoleStanding(role=role, need=need, people=tuple(agreed.get(role, ())))
        for role, need in sorted(needs_of(policy, kinds).items())
    )
    return Standing(
        roles=roles,
        approvals=tuple(counted),
        rejected=tuple(rejected),
        vetoed=tuple(vetoed),
        not_counted=tuple(not_counted),
    )


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
        have = "; ".join(f"{one.role}: {one.have} of {one.need}" for one in standing.roles)
        aside = f"; not counted, because they received it: {', '.join(standing.not_counted)}"
        raise WaitingError(
            f"{item} waits for {standing.missing} ({have}{aside if standing.not_counted else ''})",
            where="policy",
            remedy=f"waybill review {item}, then waybill approve {item} --key KEY",
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
