"""What a person must know before agreeing: one value, worked out from a plan and the documents that it names. Pure.

The same value is shown at the site and at an approver's desk; `review_paper` turns it into text or a page.
"""

from dataclasses import dataclass
from typing import Literal

import msgspec

from manifests.documents.contract import Contract
from manifests.documents.release import Probe, Release
from manifests.documents.rollback import Rollback
from manifests.words.fingerprint import as_groups
from manifests.words.units import show_duration, show_size
from verifier.approval.differences.compare_values import Difference
from verifier.approval.differences.contract import signal_facts
from verifier.approval.differences.policy import policy_differences
from verifier.approval.differences.release import (
    Advisories,
    advisories_between,
    argv,
    handler_facts,
    probe_facts,
    release_differences,
)
from verifier.approval.release_documents import ReleaseDocuments
from verifier.approval.review_input import ReleaseSigners, ReviewInput
from verifier.change.below_floor import authorisation_facts
from verifier.change.space import SpaceNeed

ChangeKind = Literal["added", "removed", "changed", "same"]


@dataclass(frozen=True)
class ReviewedSignal:
    """One signal that will leave. Attributes: how: against the contract in force; facts: all that bounds it."""

    name: str
    how: ChangeKind
    facts: dict[str, str]


@dataclass(frozen=True)
class ReviewedHandler:
    """One handler that can be asked for. Attributes: how: against the release that runs."""

    name: str
    how: ChangeKind
    facts: dict[str, str]


@dataclass(frozen=True)
class UpgradeStep:
    """One release on the way: what is known of it and who vouches for it."""

    release: str
    version: str
    facts: dict[str, str]
    class_: str
    loses: str
    no_return: str


@dataclass(frozen=True)
class RollbackOutlook:
    """How to leave again what is installed.

    Attributes:
        no_return: The step after which only a backup helps, or ``none``; ``beyond``: what is left after it.
        reopens: Advisories that going back opens again.
        authorised: Of a way back below the floor: by what, why, and what the vendor says of it.
        steps, backups: In words; ``takes_seconds``: the vendor's estimate for all of them.
    """

    class_: str
    back_to: tuple[str, ...]
    loses: str
    no_return: str
    beyond: str
    rehearsal: str
    reopens: tuple[str, ...]
    authorised: tuple[tuple[str, str], ...]
    steps: tuple[str, ...]
    backups: tuple[str, ...]
    backup_bytes: int
    takes_seconds: int
    offered_for_seconds: int
    trial_seconds: int
    confirm: str


@dataclass(frozen=True)
class Review:
    """What is shown. Empty parts are those that the plan does not touch.

    Attributes:
        subject: Digest of what it is about when that is no release, such as a policy.
        downtime_seconds: What the releases on the way state, together.
        unread: What should have been compared and could not be read.
    """

    item: str
    site: str
    action: str
    title: str
    plan: str
    kinds: tuple[str, ...]
    policy: int
    generation: int | None
    version: str
    release: str
    subject: str
    contract: str
    contract_words: str
    contract_about: str
    way: tuple[UpgradeStep, ...]
    differences: tuple[Difference, ...]
    unchanged_images: int
    advisories: Advisories
    signals: tuple[ReviewedSignal, ...]
    handlers: tuple[ReviewedHandler, ...]
    config: str
    probes: tuple[str, ...]
    work: tuple[str, ...]
    more_leaves: tuple[str, ...]
    back: RollbackOutlook | None
    downtime_seconds: int
    rooms: tuple[SpaceNeed, ...] | None
    findings: tuple[tuple[str, str, str], ...]
    unread: tuple[str, ...]

    def part(self, *parts: str) -> tuple[Difference, ...]:
        return tuple(one for one in self.differences if one.part in parts)


def review_fields(review: Review) -> dict[str, object]:
    """Return the review for programs: every field by its name."""
    fields: dict[str, object] = msgspec.to_builtins(review)
    return fields


def make_review(matter: ReviewInput) -> Review:
    """Work out the review. Who has agreed is no part of it: that moves while the plan stands still."""
    plan, after = matter.plan, matter.way[-1] if matter.way else None
    differences = release_differences(matter.before, after) if after else ()
    if matter.proposed is not None:
        differences = (*differences, *policy_differences(matter.policy, matter.proposed))
    known = matter.before.contract if matter.before else None
    steps = tuple(_hop(side, matter) for side in matter.way)
    advisories = _gained(matter)
    return Review(
        item=matter.item,
        site=plan.site,
        action=plan.action,
        title=_title(matter),
        plan=plan.digest,
        kinds=plan.kinds,
        policy=matter.policy.number,
        generation=plan.generation,
        version=after.release.version if after else "",
        release=after.digest if after else "",
        subject=plan.subject or "",
        contract=plan.contract or "",
        contract_words=as_groups(plan.contract) if plan.contract and after else "",
        contract_about=_about(after.contract if after else None),
        way=steps,
        differences=differences,
        unchanged_images=_unchanged(matter.before, after),
        advisories=advisories,
        signals=_signals(known, after.contract if after else None),
        handlers=_handlers(matter.before.release if matter.before else None, after.release if after else None),
        config=_config(matter, after),
        probes=tuple(_probe(one) for one in after.release.probes) if after else (),
        work=matter.work,
        more_leaves=matter.more_leaves,
        back=_way_back(matter, after),
        downtime_seconds=sum(_downtime(side.release) for side in matter.way),
        rooms=matter.rooms,
        findings=tuple((one.level, one.id, one.text) for one in matter.findings),
        unread=(*matter.unread, *(one for side in (matter.before, *matter.way) if side for one in side.unread)),
    )


def _title(matter: ReviewInput) -> str:
    plan, before = matter.plan, matter.before
    if not matter.way:
        words = {"policy": "a new policy", "export": "a report leaves", "offboard": "the vendor's access ends"}
        title = words.get(plan.action, plan.action)
        if matter.proposed is not None:
            title = f"policy {matter.policy.number} to {matter.proposed.number}"
        return title
    release = matter.way[-1].release
    if plan.action == "rollback":
        return f"back to generation {plan.generation}, {release.product} {release.version}"
    if before is None:
        return f"first install of {release.product} {release.version}"
    if before.digest == matter.way[-1].digest:
        return f"new configuration of {release.product} {release.version}"
    over = "".join(f" over {side.release.version}" for side in matter.way[:-1])
    return f"{release.product} {before.release.version} to {release.version}{over}"


def _hop(side: ReleaseDocuments, matter: ReviewInput) -> UpgradeStep:
    release = side.release
    vouched = next((one for one in matter.vouched if one.release == side.digest), None)
    facts = {
        "release": side.digest,
        "signed by": _vouched(vouched),
        "sequence": f"{release.channel} {release.sequence}, floor {release.floor} once confirmed",
        "issued": release.issued_at,
        "size": f"{show_size(sum(one.size for one in release.members))} in {len(release.members)} members",
        "audience": "everyone"
        if release.audience.everyone
        else f"{', '.join(release.audience.customers)} in {', '.join(release.audience.environments)}",
    }
    if release.supported_until:
        facts["supported until"] = release.supported_until
    if release.fixes:
        facts["fixes"] = ", ".join(f"{one.advisory} ({one.severity}, {one.in_})" for one in release.fixes)
    if release.absent:
        facts["left out"] = ", ".join(sorted({one.platform for one in release.absent}))
    return UpgradeStep(
        release=side.digest,
        version=release.version,
        facts=facts,
        class_=side.rollback.class_ if side.rollback else "not known",
        loses=side.rollback.loses if side.rollback else "not known",
        no_return=side.rollback.no_return if side.rollback else "not known",
    )


def _vouched(signers: ReleaseSigners | None) -> str:
    if signers is None:
        return "not verified again: it was when it was installed"
    if not signers.by:
        return "not verified"
    practice = " (practice)" if signers.practice else ""
    return f"{', '.join(keyid[:12] for keyid in signers.signers)}{practice}, {signers.by}"


def _gained(matter: ReviewInput) -> Advisories:
    if not matter.way:
        return Advisories((), ())
    on_the_way = tuple(side.release for side in matter.way[:-1])
    return advisories_between(matter.before, matter.way[-1], left=(*on_the_way, *matter.between))


def _about(contract: Contract | None) -> str:
    return f"{contract.contract} version {contract.version}: {contract.purpose}" if contract else ""


def _unchanged(before: ReleaseDocuments | None, after: ReleaseDocuments | None) -> int:
    if before is None or after is None:
        return 0
    known = {(one.name, one.manifest.digest) for one in before.release.images}
    return sum((one.name, one.manifest.digest) in known for one in after.release.images)


def _signals(known: Contract | None, contract: Contract | None) -> tuple[ReviewedSignal, ...]:
    """Every signal that will leave, marked against the contract in force, and those that leave no longer."""
    if contract is None:
        return ()
    old = {one.name: signal_facts(one) for one in known.signals} if known else {}
    new = {one.name: signal_facts(one) for one in contract.signals}
    gone = (ReviewedSignal(name, "removed", facts) for name, facts in old.items() if name not in new)
    return (*(ReviewedSignal(name, _how(old.get(name), facts), facts) for name, facts in new.items()), *gone)


def _handlers(before: Release | None, after: Release | None) -> tuple[ReviewedHandler, ...]:
    old = {one.name: handler_facts(one) for one in before.handlers} if before else {}
    new = {one.name: handler_facts(one) for one in after.handlers} if after else {}
    gone = (ReviewedHandler(name, "removed", facts) for name, facts in old.items() if name not in new)
    return (*(ReviewedHandler(name, _how(old.get(name), facts), facts) for name, facts in new.items()), *gone)


def _how(old: object, new: object) -> ChangeKind:
    return "added" if old is None else "same" if old == new else "changed"


def _config(matter: ReviewInput, after: ReleaseDocuments | None) -> str:
    if after is None:
        return ""
    config = after.release.config
    text = f"schema version {config.version}" if config else "the release takes no config"
    if matter.plan.action == "rollback":
        text += "; the config of that generation comes back with it"
    return text


def _probe(probe: Probe) -> str:
    facts = probe_facts(probe)
    return f"{probe.name}: {facts['looks at']}, {facts['passes']}"


def _downtime(release: Release) -> int:
    return sum(step.downtime_seconds for step in release.install)


def _way_back(matter: ReviewInput, after: ReleaseDocuments | None) -> RollbackOutlook | None:
    """Of an install: how the new release is left again. Of a rollback: what leaving the running one means."""
    leaving = matter.before if matter.plan.action == "rollback" else after
    if after is None or leaving is None or leaving.rollback is None:
        return None
    document = leaving.rollback
    return RollbackOutlook(
        class_=document.class_,
        back_to=document.back_to,
        loses=document.loses,
        no_return=document.no_return,
        beyond=_beyond(document),
        rehearsal=document.rehearsal or "",
        reopens=_reopens(matter, after),
        authorised=authorisation_facts(matter.authorised) if matter.authorised else (),
        steps=tuple(
            f"{one.name}: {argv(one.do)}; {f'undone by {argv(one.undo)}' if one.undo else 'cannot be undone'}; "
            f"about {show_duration(one.takes_seconds)}; after a crash: {one.after_crash}"
            for one in document.steps
        ),
        backups=tuple(
            f"{one.name}: {argv(one.make)}; tried by {argv(one.try_)}; at most {show_size(one.at_most_bytes)}; "
            f"about {show_duration(one.takes_seconds)}"
            for one in document.backup
        ),
        backup_bytes=sum(one.at_most_bytes for one in document.backup),
        takes_seconds=sum(one.takes_seconds for one in document.steps)
        + sum(one.takes_seconds for one in document.backup),
        offered_for_seconds=document.offered_for_seconds,
        trial_seconds=after.release.trial.at_most_seconds,
        confirm=after.release.trial.confirm,
    )


def _beyond(document: Rollback) -> str:
    if document.no_return == "none":
        return ""
    if document.backup:
        return f"only the backup is left ({', '.join(one.name for one in document.backup)})"
    return "nothing is left: there is no backup"


def _reopens(matter: ReviewInput, after: ReleaseDocuments) -> tuple[str, ...]:
    """Of a rollback: what it opens again. Of an install: what going back from it would open again."""
    if matter.plan.action == "rollback":
        return _gained(matter).reopened
    if matter.before is None or matter.before.digest == after.digest:
        return ()
    on_the_way = tuple(side.release for side in matter.way[:-1])
    return advisories_between(after, matter.before, left=(*on_the_way, *matter.between)).reopened
