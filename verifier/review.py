"""What a person must know before agreeing, as plain text."""

from manifests.contract import Contract, Signal
from manifests.fingerprint import as_groups, as_words
from manifests.release import Release
from manifests.units import show_duration, show_size
from verifier.change import Change
from verifier.crew import Work
from verifier.generations import Installed
from verifier.policy import Asked, Standing
from verifier.policy_change import PolicyChange, differences
from verifier.queue import Waiting


def review_text(change: Change, crew: tuple[Work, ...], before: Installed | None, known: Contract | None) -> str:
    """What one release, or a way back, changes; ``standing_lines`` says who must agree.

    Args:
        before: What runs now.
        known: The contract in force, None before the first install.
    """
    release = change.release
    lines = [f"{change.item}: {_title(change, before)}", ""]
    lines += _facts(change, release)
    lines += _differences(release, before)
    lines += _contract(change.contract, known, change.planned.contract)
    lines += _config(change, before)
    lines += [f"  more leaves: {words}" for words in change.more_leaves]
    lines += ["", "what will be done"]
    lines += [f"  {work.step} ({work.driver.name}): {line}" for work in crew for line in work.plan.lines]
    lines += [f"  probe {probe.name}, {probe.passes} times in a row" for probe in release.probes]
    lines += _way_back(change)
    lines += [f"  {one.level}: {one.text}" for one in change.findings if one.level == "warning"]
    return "\n".join(lines)


def policy_text(change: PolicyChange, standing: Standing) -> str:
    """A proposed policy against the one in force, and its fingerprint."""
    lines = [f"policy: {change.proposed.number} instead of {change.in_force.number}", ""]
    lines += [f"  {line}" for line in differences(change.in_force, change.proposed)] or ["  only its number"]
    lines += ["", f"  digest       {change.digest}", f"  fingerprint  {as_groups(change.digest)}"]
    lines.append(f"               {as_words(change.digest)}")
    return "\n".join([*lines, *standing_lines(change, standing)])


def standing_lines(asked: Asked, standing: Standing) -> list[str]:
    """Who must agree, who has, who is missing."""
    by = f"emergency rule {standing.rule}" if standing.rule else f"policy rules: {', '.join(asked.plan.kinds)}"
    lines = ["", f"who must agree ({by})"]
    if standing.rule:
        lines.append(f"  instead of the ordinary rules; uses left, with this one: {standing.uses_left}")
    for one in standing.roles:
        names = f": {', '.join(one.people)}" if one.people else ""
        lines.append(f"  {one.role}: {one.have} of {one.need}{names}")
    lines += [f"  {person}, on condition: {words}" for person, words in standing.conditions]
    if standing.not_counted:
        lines.append(f"  not counted, because they brought it: {', '.join(standing.not_counted)}")
    if standing.rejected:
        lines.append(f"  rejected by: {', '.join(standing.rejected)}")
    for void in standing.void:
        word = "approval" if void.verdict == "approve" else "rejection"
        lines.append(f"  void: {word} of {void.person}, {void.why} ({void.finding})")
    lines.append(f"plan {asked.plan.digest}")
    named = asked.then.removeprefix("install ") if asked.then.startswith("install ") else asked.item
    if standing.vetoed:
        lines.append("rejected; nothing will be installed")
    elif standing.met:
        lines.append(f"agreed: waybill {asked.then}")
    else:
        lines.append(f"waits for {standing.missing}: waybill approve {named} --key KEY")
    return lines


def _title(change: Change, before: Installed | None) -> str:
    release = change.release
    if change.action == "rollback":
        return f"back to generation {change.target}, {release.product} {release.version}"
    if before is None:
        return f"first install of {release.product} {release.version}"
    if before.release.version == release.version:
        return f"new configuration of {release.product} {release.version}"
    return f"{release.product} {before.release.version} to {release.version}"


def _facts(change: Change, release: Release) -> list[str]:
    head = change.head
    lines = [
        f"  release    {change.planned.release}",
        f"  sequence   {release.channel} {release.sequence}, floor {release.floor} once confirmed",
        f"  issued     {release.issued_at}",
        f"  size       {show_size(sum(one.size for one in release.members))} in {len(release.members)} members",
    ]
    if head is not None:
        practice = " (practice)" if head.practice else ""
        lines.insert(1, f"  signed by  {', '.join(keyid[:12] for keyid in head.signers)}{practice}")
    if release.fixes:
        lines.append(
            f"  fixes      {', '.join(f'{one.advisory} ({one.severity}, {one.in_})' for one in release.fixes)}"
        )
    if release.audience.everyone:
        lines.append("  audience   everyone")
    return lines


def _differences(release: Release, before: Installed | None) -> list[str]:
    old = {one.name: one for one in before.release.images} if before else {}
    lines = ["", "images"] if release.images or old else []
    for image in release.images:
        known = old.pop(image.name, None)
        digest = image.manifest.digest[:19]
        if known is None:
            lines.append(f"  + {image.name}  {image.to}  {digest}")
        elif known.manifest.digest != image.manifest.digest:
            lines.append(f"  ~ {image.name}  {image.to}  {known.manifest.digest[:19]} to {digest}")
        else:
            lines.append(f"  = {image.name}  {image.to}  {digest}")
    lines += [f"  - {name}" for name in old]
    files = {one.name: one for one in before.release.files} if before else {}
    if release.files or files:
        lines += ["", "files"]
    for found in release.files:
        had = files.pop(found.name, None)
        now = {one.path: one.digest for one in found.entries}
        then = {one.path: one.digest for one in had.entries} if had else {}
        changed = sum(1 for path, digest in now.items() if path in then and then[path] != digest)
        lines.append(
            f"  {found.name}: {len(now.keys() - then.keys())} new, {changed} changed, "
            f"{len(then.keys() - now.keys())} gone, {len(now)} in all"
        )
    lines += [f"  - {name}" for name in files]
    known_handlers = {one.name: one for one in before.release.handlers} if before else {}
    new = [one for one in release.handlers if known_handlers.get(one.name) != one]
    if new:
        lines += ["", "handlers that were not there before"]
        lines += [f"  {one.name}: {one.does} ({one.risk}; may {', '.join(one.may)})" for one in new]
    return lines


def _contract(contract: Contract, known: Contract | None, digest: str) -> list[str]:
    """Every signal that will leave, and which of them are new."""
    lines = ["", f"telemetry contract {contract.contract} version {contract.version}: {contract.purpose}"]
    lines += [f"  digest {digest}", f"         {as_groups(digest)}"]
    if known == contract:
        return [*lines, "  as in force"]
    old = {one.name: one for one in known.signals} if known else {}
    for signal in contract.signals:
        had = old.pop(signal.name, None)
        mark = "+" if had is None else "=" if had == signal else "~"
        lines.append(f"  {mark} {signal.name} ({signal.kind}): {_leaves(signal)}; {signal.why}")
    return [*lines, *(f"  - {name}" for name in old)]


def _leaves(signal: Signal) -> str:
    if signal.core:
        return f"{len(signal.core)} fields of the report itself"
    fields = [f"{name} {_values(value.enum, value.integer)}" for name, value in signal.fields.items()]
    labels = [f"by {name} {_values(value.enum, value.integer)}" for name, value in signal.labels.items()]
    return ", ".join([*fields, *labels])


def _values(enum: tuple[str, ...] | None, integer: tuple[int, ...] | None) -> str:
    return f"({'|'.join(enum)})" if enum else f"({integer[0]}..{integer[1]})" if integer else ""


def _config(change: Change, before: Installed | None) -> list[str]:
    """Names of what differs, not the values: they may be secrets, and a review is printed and handed around."""
    import json

    new = json.loads(change.installed.config) if change.installed.config else {}
    old = json.loads(before.config) if before and before.config else {}
    paths = sorted(_changed(old, new, ""))
    version = change.planned.config_version
    lines = ["", f"config (schema version {version})" if version else "config: the release takes none"]
    if before is None and version:
        lines.append(f"  {len(list(_changed({}, new, '')))} values from site.yaml, valid by the schema")
    elif version:
        lines += [f"  changes: {path}" for path in paths] or ["  unchanged"]
    if before is not None and before.settings != change.installed.settings:
        lines.append("  site.yaml changes outside of `config` too")
    if change.action == "rollback":
        lines.append("  the config of that generation comes back with it")
    return lines


def _changed(old: object, new: object, path: str) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        found: list[str] = []
        for key in sorted({*old, *new}):
            found += _changed(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
        return found
    return [] if old == new else [path or "(all of it)"]


def _way_back(change: Change) -> list[str]:
    document = change.rollback
    trial = change.release.trial
    downtime = sum(step.downtime_seconds for step in change.release.install)
    lines = ["", "way back"]
    if change.action == "rollback":
        return [*lines, f"  loses: {document.loses}"]
    lines.append(f"  class {document.class_}; back to {' or '.join(document.back_to) or 'nothing'}")
    lines.append(f"  going back later loses: {document.loses}")
    if document.no_return != "none":
        lines.append(f"  no return after step {document.no_return}")
    lines.append("  rehearsed by the vendor" if document.rehearsal else "  not rehearsed")
    lines.append(
        f"  trial of at most {show_duration(trial.at_most_seconds)}, ended by {trial.confirm}; goes back by itself"
    )
    if downtime:
        lines.append(f"  downtime of about {show_duration(downtime)}")
    return lines


def queue_text(waiting: tuple[Waiting, ...]) -> str:
    """One line per item, then what to do next."""
    if not waiting:
        return "nothing waits"
    lines = []
    for one in waiting:
        if one.problem:
            lines.append(f"{one.item}  cannot be installed: {one.problem}")
            continue
        roles = ", ".join(f"{role.role} {role.have} of {role.need}" for role in one.roles) or "nobody"
        state = "agreed" if one.met else "waits"
        lines.append(
            f"{' '.join(one.items or (one.item,))}  {one.kind} {one.version}  {', '.join(one.kinds)}  "
            f"{state}: {roles}  since {one.since}"
        )
        if one.rule:
            lines.append(f"  by the emergency rule {one.rule}")
        if one.rejected:
            lines.append(f"  rejected by {', '.join(one.rejected)}")
    return "\n".join(lines)
