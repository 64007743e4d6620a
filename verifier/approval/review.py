"""The review of an item: everything that an approver must know, computed from the plan and its documents. Pure.

The review of a request folder is the same value as the review at the site. ``review_page`` shows it as a page.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import msgspec

from content.differences.compare_values import Difference
from content.differences.documents import policy_differences, signal_facts
from content.differences.release import (
    Advisories,
    advisories_between,
    handler_facts,
    probe_facts,
    release_differences,
)
from content.differences.release_documents import DocumentNote, ReleaseDocuments, incomparable_parts
from manifests.documents.contract import Contract
from manifests.documents.release import Handler, Probe, Release
from manifests.documents.rollback import Backup, Rollback, Step
from manifests.words.fingerprint import as_groups
from manifests.words.text import argv
from manifests.words.units import show_duration, show_size
from manifests.words.version import in_any
from verifier.approval.review_input import ReleaseSigners, ReviewedHost, ReviewInput
from verifier.change.below_floor import authorisation_facts
from verifier.change.forecast import part_label, proves_words
from verifier.runtime.setup import FAILED
from verifier.site.journal.events import Act

ChangeKind = Literal["added", "removed", "changed", "same", "not compared"]


@dataclass(frozen=True)
class Reviewed:
    """A signal or handler, compared with what is in force (``how``), and all its limits in words (``facts``)."""

    name: str
    how: ChangeKind
    facts: dict[str, str]


@dataclass(frozen=True)
class ReviewedTelemetry:
    """What may leave the site.

    Attributes:
        contract: Digest of the contract that will be in force; empty without one.
        contract_words: The digest in groups; empty when the plan changes no release.
        contract_about: Name, version and purpose; empty without a contract.
        more_leaves: Telemetry that leaves under the new settings and did not before, one line each.
    """

    contract: str
    contract_words: str
    contract_about: str
    signals: tuple[Reviewed, ...]
    more_leaves: tuple[str, ...]


@dataclass(frozen=True)
class UpgradeStep:
    """One release of the plan, with its facts and signers, and the lines of its release notes."""

    release: str
    version: str
    facts: dict[str, str]
    class_: str
    loses: str
    no_return: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RollbackOutlook:
    """How the release is rolled back; for a rollback, what it means.

    Attributes:
        no_return: The step after which only a backup helps, or ``none``.
        beyond: What is left after that step.
        authorised: For a rollback below the floor, the facts of the vendor's authorisation.
        steps: The steps that the plan runs, or that the rollback undoes; ``backups`` likewise.
        takes_seconds: The vendor's estimate for these.
        offered_for_seconds: 0 for a new configuration, to which the vendor's document does not apply.
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
    """Everything that a review shows. A part that the plan does not touch is empty.

    Attributes:
        subject: Digest of the item when it is no release, such as a policy.
        downtime_seconds: Sum of what the releases of the plan state for their install; 0 when none is installed.
        findings: ``(level, id, text)`` of each.
        notes: Documents that were not compared, or not entirely; and the SBOMs that were.
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
    way: tuple[UpgradeStep, ...]
    differences: tuple[Difference, ...]
    unchanged_images: int
    advisories: Advisories
    telemetry: ReviewedTelemetry
    handlers: tuple[Reviewed, ...]
    config: str
    probes: tuple[str, ...]
    work: tuple[str, ...]
    back: RollbackOutlook | None
    downtime_seconds: int
    host: ReviewedHost
    findings: tuple[tuple[str, str, str], ...]
    notes: tuple[DocumentNote, ...]

    def part(self, *parts: str) -> tuple[Difference, ...]:
        return tuple(difference for difference in self.differences if difference.part in parts)

    @property
    def lacks(self) -> int:
        """How many things the site lacks, as it looked when the review was made; with each the install would fail."""
        return sum(level == "warning" and text.startswith(FAILED) for level, _, text in self.findings)

    @property
    def unread(self) -> tuple[str, ...]:
        """What was not compared, or not entirely, one line each."""
        return tuple(note.line for note in self.notes if note.kind != "read")


def review_fields(review: Review) -> dict[str, object]:
    """Return the review for programs: every field by its name, those of ``telemetry`` among them."""
    fields: dict[str, object] = msgspec.to_builtins(replace(review, differences=()))
    del fields["telemetry"], fields["notes"]
    fields |= {"rooms": msgspec.to_builtins(review.host.rooms), "host": msgspec.to_builtins(review.host.checks)}
    sboms = [note.line for note in review.notes if note.kind == "read"]
    telemetry: dict[str, object] = msgspec.to_builtins(review.telemetry)
    differences = [difference.fields() for difference in review.differences]
    return {**fields, **telemetry, "differences": differences, "unread": list(review.unread), "sboms": sboms}


def make_review(given: ReviewInput) -> Review:
    """Return the review. It holds no approvals, because they change while the plan stays the same."""
    plan, before, after = given.plan, given.before, given.releases[-1] if given.releases else None
    differences = release_differences(before, after) if after else ()
    if given.proposed is not None:
        differences = (*differences, *policy_differences(given.policy, given.proposed))
    contract = after.contract if after else None
    left = (*(side.release for side in given.releases[:-1]), *given.between)
    advisories = advisories_between(before, after, left=left) if after else Advisories((), ())
    known_images = {(image.name, image.manifest.digest) for image in before.release.images} if before else set()
    return Review(
        item=given.item,
        site=plan.site,
        action=plan.action,
        title=_title(given),
        plan=plan.digest,
        kinds=plan.kinds,
        policy=given.policy.number,
        generation=plan.generation,
        version=after.release.version if after else "",
        release=after.digest if after else "",
        subject=plan.subject or "",
        way=tuple(_upgrade_step(side, given) for side in given.releases),
        differences=differences,
        unchanged_images=sum((image.name, image.manifest.digest) in known_images for image in after.release.images)
        if after
        else 0,
        advisories=advisories,
        telemetry=ReviewedTelemetry(
            contract=plan.contract or "",
            contract_words=as_groups(plan.contract) if plan.contract and after else "",
            contract_about=f"{contract.contract} version {contract.version}: {contract.purpose}" if contract else "",
            signals=_telemetry_signals(before, after) if after else (),
            more_leaves=given.more_leaves,
        ),
        handlers=_reviewed_handlers(given.definition, before, after),
        config=_config(given, after),
        probes=tuple(_probe(probe) for probe in after.release.probes) if after else (),
        work=given.work,
        back=_rollback_outlook(given, after, advisories, left) if after else None,
        downtime_seconds=sum(step.downtime_seconds for side in _installed(given) for step in side.release.install),
        host=ReviewedHost(given.rooms, given.host),
        findings=(*((finding.level, finding.id, finding.text) for finding in given.findings), *_no_way_back(given)),
        notes=(*_lost(given), *(note for side in (before, *given.releases) if side for note in side.notes)),
    )


def _lost(given: ReviewInput) -> Iterator[DocumentNote]:
    for line in given.unread:
        what, _, text = line.partition(": ")
        yield DocumentNote("release", "unread", what, text)


def _title(given: ReviewInput) -> str:
    plan, before = given.plan, given.before
    if not given.releases:
        words = {"policy": "new policy", "export": "export of a report", "offboard": "end of the vendor's access"}
        if given.use is not None:
            return f"use of the handler {given.use.words}"
        if given.proposed is not None:
            return f"policy {given.policy.number} to {given.proposed.number}"
        return words.get(plan.action, plan.action)
    release = given.releases[-1].release
    if plan.action == "rollback":
        return f"rollback to generation {plan.generation}, {release.product} {release.version}"
    if before is None:
        return f"first install of {release.product} {release.version}"
    if before.digest == given.releases[-1].digest:
        return f"new configuration of {release.product} {release.version}"
    over = "".join(f" over {side.release.version}" for side in given.releases[:-1])
    return f"{release.product} {before.release.version} to {release.version}{over}"


def _upgrade_step(side: ReleaseDocuments, given: ReviewInput) -> UpgradeStep:
    """Return one release of the plan with its facts; optional facts are left out when the release states none."""
    release = side.release
    signers = next((signers for signers in given.signers if signers.release == side.digest), None)
    facts = {
        "release": side.digest,
        "signed by": _signed_by(signers),
        "sequence": f"{release.channel} {release.sequence}"
        + (f", floor {release.floor} once confirmed" if given.plan.action == "install" else ""),
        "issued": release.issued_at,
        "size": f"{show_size(sum(member.size for member in release.members))} in {len(release.members)} members",
        "audience": "everyone"
        if release.audience.everyone
        else f"{', '.join(release.audience.customers)} in {', '.join(release.audience.environments)}",
    }
    if release.supported_until:
        facts["supported until"] = release.supported_until
    if release.fixes:
        facts["fixes"] = ", ".join(f"{fix.advisory} ({fix.severity}, {fix.in_})" for fix in release.fixes)
    if converted := [f"{image.name} (from {image.converted})" for image in release.images if image.converted]:
        facts["converted"] = ", ".join(converted)
    if side.authorisations:
        facts["authorisations"] = ", ".join(
            f"{permit.number} (below the floor to {permit.goes_to.version})" for permit in side.authorisations
        )
    if left_out := sorted({child.platform for child in release.absent if child.platform is not None}):
        facts["left out"] = ", ".join(left_out)
    if elsewhere := sorted({child.url for child in release.absent if child.url is not None}):
        facts["not in the release"] = f"foreign layers, which the runtime fetches from {', '.join(elsewhere)}"
    return UpgradeStep(
        release=side.digest,
        version=release.version,
        facts=facts,
        class_=side.rollback.class_ if side.rollback else "not known",
        loses=side.rollback.loses if side.rollback else "not known",
        no_return=side.rollback.no_return if side.rollback else "not known",
        notes=side.release_notes,
    )


def _signed_by(signers: ReleaseSigners | None) -> str:
    if signers is None:
        return "not verified again; verified when installed"
    if not signers.by:
        return "not verified"
    practice = " (practice)" if signers.practice else ""
    return f"{', '.join(keyid[:12] for keyid in signers.signers)}{practice}, {signers.by}"


def _telemetry_signals(before: ReleaseDocuments | None, after: ReleaseDocuments) -> tuple[Reviewed, ...]:
    signals = _signals(after.contract)
    if "contract" in incomparable_parts(before, after):
        return tuple(Reviewed(name, "not compared", facts) for name, facts in signals.items())
    return _compared(_signals(before.contract if before else None), signals)


def _signals(contract: Contract | None) -> dict[str, dict[str, str]]:
    return {signal.name: signal_facts(signal) for signal in contract.signals} if contract else {}


def _handlers(side: ReleaseDocuments | None) -> dict[str, dict[str, str]]:
    return {handler.name: handler_facts(handler) for handler in side.release.handlers} if side else {}


def _reviewed_handlers(
    used: Handler | None, before: ReleaseDocuments | None, after: ReleaseDocuments | None
) -> tuple[Reviewed, ...]:
    if used is not None:
        return (Reviewed(used.name, "not compared", handler_facts(used)),)
    return _compared(_handlers(before), _handlers(after))


def _compared(old: dict[str, dict[str, str]], new: dict[str, dict[str, str]]) -> tuple[Reviewed, ...]:
    """Return everything of ``new``, compared with ``old``; then what is in ``old`` only."""
    gone = (Reviewed(name, "removed", facts) for name, facts in old.items() if name not in new)
    kept = (
        Reviewed(name, "added" if name not in old else "same" if old[name] == facts else "changed", facts)
        for name, facts in new.items()
    )
    return (*kept, *gone)


def _config(given: ReviewInput, after: ReleaseDocuments | None) -> str:
    if after is None:
        return ""
    config = after.release.config
    text = f"schema version {config.version}" if config else "the release takes no config"
    if given.plan.action == "rollback":
        text += "; the rollback restores the config of that generation"
    return text


def _probe(probe: Probe) -> str:
    facts = probe_facts(probe)
    return f"{probe.name}: {facts['looks at']}, {facts['passes']}"


def _installed(given: ReviewInput) -> tuple[ReleaseDocuments, ...]:
    """Return the releases that the plan installs: none for a rollback, or for a new config of what runs."""
    if given.plan.action == "rollback" or _config_alone(given):
        return ()
    return given.releases


def _config_alone(given: ReviewInput) -> bool:
    """Whether the release that will run is the one that runs, so that only its configuration changes."""
    return given.before is not None and bool(given.releases) and given.before.digest == given.releases[-1].digest


def _rollback_outlook(
    given: ReviewInput, after: ReleaseDocuments, advisories: Advisories, left: tuple[Release, ...]
) -> RollbackOutlook | None:
    """Return how the new release is rolled back; for a rollback, what leaving the running release means."""
    back = given.plan.action == "rollback"
    leaving = given.before if back else after
    if leaving is None or leaving.rollback is None:
        return None
    document = leaving.rollback
    if back:
        reopens = advisories.reopened
    elif given.before is None or _config_alone(given):
        reopens = ()
    else:
        reopens = advisories_between(after, given.before, left=left).reopened
    steps = [step for step in document.steps if _does(given, "migrate", step.name) or _does(given, "undo", step.name)]
    backups = [one for one in document.backup if _does(given, "restore" if back else "backup", one.name)]
    outlook = RollbackOutlook(
        class_=document.class_,
        back_to=document.back_to,
        # The document is about a rollback within the floor; below it the vendor's authorisation says what is lost.
        loses=given.authorised.authorisation.loses if given.authorised else document.loses,
        no_return=document.no_return,
        beyond=_beyond(document, document.backup if back else backups),
        rehearsal=document.rehearsal or "",
        reopens=reopens,
        authorised=authorisation_facts(given.authorised) if given.authorised else (),
        steps=tuple(_step_undone(given, step) for step in reversed(steps))
        if back
        else tuple(_step_run(step) for step in steps),
        backups=tuple(_backup_restored(backup) if back else _backup_made(backup) for backup in backups),
        backup_bytes=0 if back else sum(backup.at_most_bytes for backup in backups),
        takes_seconds=sum(step.takes_seconds for step in steps) + sum(backup.takes_seconds for backup in backups),
        offered_for_seconds=document.offered_for_seconds,
        trial_seconds=after.release.trial.at_most_seconds,
        confirm=after.release.trial.confirm,
    )
    if not _config_alone(given) or steps or backups:
        return outlook
    # The document is about leaving the release, which stays.
    return replace(
        outlook,
        class_="reversible",
        back_to=(f"{after.release.version} with the configuration in force now",),
        loses="no data: only the configuration changes",
        no_return="none",
        beyond="",
        rehearsal="",
        offered_for_seconds=0,
    )


def _does(given: ReviewInput, act: Act, name: str) -> bool:
    """Whether the work of the plan has this part of the last release's rollback document."""
    several = f"{given.releases[-1].release.version}: " if len(given.releases) > 1 else ""
    return any(line.startswith(several + part_label(act, name)) for line in given.work)


def _step_run(step: Step) -> str:
    undone = f"undone by {argv(step.undo)}" if step.undo else "cannot be undone"
    return (
        f"{step.name}: {argv(step.do)}; {undone}; about {show_duration(step.takes_seconds)}; "
        f"after a crash: {step.after_crash}"
    )


def _step_undone(given: ReviewInput, step: Step) -> str:
    undone = f"undone by {argv(step.undo)}" if step.undo and _does(given, "undo", step.name) else argv(step.do)
    return f"{step.name}: {undone}; about {show_duration(step.takes_seconds)}"


def _backup_made(backup: Backup) -> str:
    return (
        f"{backup.name}: {argv(backup.make)}; tried by {argv(backup.try_)}; the trial {proves_words(backup)}; "
        f"at most {show_size(backup.at_most_bytes)}; about {show_duration(backup.takes_seconds)}"
    )


def _backup_restored(backup: Backup) -> str:
    return f"{backup.name}: restored by {argv(backup.restore)}; about {show_duration(backup.takes_seconds)}"


def _no_way_back(given: ReviewInput) -> Iterator[tuple[str, str, str]]:
    """Yield a warning for each release of the plan that cannot be rolled back to the one before it."""
    if given.plan.action == "rollback":
        return
    for before, after in pairwise(side for side in (given.before, *given.releases) if side is not None):
        version, rollback = before.release.version, after.rollback
        if before.digest != after.digest and rollback is not None and not in_any(version, rollback.back_to):
            yield "warning", "no-way-back", f"release {after.release.version} cannot be rolled back to {version}"


def _beyond(document: Rollback, backups: Sequence[Backup]) -> str:
    if document.no_return == "none":
        return ""
    if backups:
        return f"only the backup is left ({', '.join(backup.name for backup in backups)})"
    return "nothing is left: there is no backup"
