"""What differs between two releases, two configs, two contracts, two policies or two roots, part by part. Pure.

`review` and `compare` both say what they say from here.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from manifests.config_schema import Json
from manifests.contract import Contract, Signal, Values
from manifests.policy import Policy
from manifests.release import Handler, Image, InstallStep, Probe, Release
from manifests.rollback import Rollback
from manifests.sbom import Component
from manifests.trust import Root
from manifests.units import show_duration, show_size
from verifier.sides import Side

How = Literal["added", "removed", "changed"]
PARTS = (
    "release",
    "advisories",
    "images",
    "sbom",
    "charts",
    "files",
    "programs",
    "schema",
    "config",
    "settings",
    "contract",
    "handlers",
    "steps",
    "probes",
    "rollback",
    "policy",
    "root",
    "document",
)
HIDDEN = "(not shown)"
# A value under such a name should be a reference; where somebody wrote the secret itself, it is not printed.
_SECRET_NAME = re.compile(r"(pass(word|phrase|wd)?|secret|token|credentials?|private.?key|api.?key)$", re.IGNORECASE)
At = tuple[str | int, ...]


@dataclass(frozen=True)
class Difference:
    """Attributes: part: one of ``PARTS``; name: which thing of it; before, after: in words, empty for nothing."""

    part: str
    name: str
    how: How
    before: str = ""
    after: str = ""

    def line(self) -> str:
        said = f"{self.before} to {self.after}" if self.how == "changed" else self.before or self.after
        return f"{self.part:<10} {self.how:<8} {self.name}" + (f": {said}" if said else "")


@dataclass(frozen=True)
class Advisories:
    """Attributes: fixed: what the new side fixes, with its severity; reopened: what was fixed and is not any more."""

    fixed: tuple[tuple[str, str], ...]
    reopened: tuple[str, ...]


def release_differences(old: Side | None, new: Side) -> tuple[Difference, ...]:
    """Every difference between two releases with what belongs to them; ``old`` is None where nothing was before."""
    return tuple(_release_differences(old, new))


def _release_differences(old: Side | None, new: Side) -> Iterator[Difference]:
    before, after = (old.release if old else None), new.release
    yield from values("release", _facts(before), _facts(after))
    yield from _advisories(old, new)
    yield from things("images", _each(before, "images", image_facts), _each(after, "images", image_facts))
    yield from component_differences(old.components if old else {}, new.components)
    for part in ("charts", "programs"):
        yield from things(part, _each(before, part, _digests), _each(after, part, _digests))
    yield from values("files", _files(before), _files(after))
    yield from values("schema", _schema(old), _schema(new))
    if new.config is not None or (old and old.config is not None):
        yield from config_differences(
            old.config if old else None, new.config, (old.schema if old else None, new.schema)
        )
    if new.settings is not None or (old and old.settings is not None):
        yield from config_differences(old.settings if old else None, new.settings, (None, None), part="settings")
    yield from contract_differences(old.contract if old else None, new.contract)
    yield from things("handlers", _each(before, "handlers", handler_facts), _each(after, "handlers", handler_facts))
    yield from things(
        "steps", _each(before, "install", _step_facts, "step"), _each(after, "install", _step_facts, "step")
    )
    yield from things("probes", _each(before, "probes", probe_facts), _each(after, "probes", probe_facts))
    yield from values("rollback", _rollback(old.rollback if old else None), _rollback(new.rollback))


def values(part: str, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Difference]:
    """Differences of two maps from a name to what is said of it."""
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            yield Difference(part, name, "removed", before=old[name])
        elif name not in old:
            yield Difference(part, name, "added", after=new[name])
        elif old[name] != new[name]:
            yield Difference(part, name, "changed", old[name], new[name])


def things(
    part: str, old: Mapping[str, Mapping[str, str]], new: Mapping[str, Mapping[str, str]]
) -> Iterator[Difference]:
    """The same for things with several facts each; a changed one says only the facts that changed."""
    for name in sorted(old.keys() | new.keys()):
        was, now = old.get(name), new.get(name)
        if now is None and was is not None:
            yield Difference(part, name, "removed", before=said(was))
        elif was is None and now is not None:
            yield Difference(part, name, "added", after=said(now))
        elif was is not None and now is not None and was != now:
            changed = [fact for fact in sorted(was.keys() | now.keys()) if was.get(fact) != now.get(fact)]
            yield Difference(
                part,
                name,
                "changed",
                said({fact: was.get(fact, "none") for fact in changed}),
                said({fact: now.get(fact, "none") for fact in changed}),
            )


def said(facts: Mapping[str, str]) -> str:
    return "; ".join(f"{name} {value}" for name, value in facts.items() if value)


def _each(
    release: Release | None, part: str, facts: Callable[..., Mapping[str, str]], key: str = "name"
) -> dict[str, Mapping[str, str]]:
    if release is None:
        return {}
    return {getattr(one, key): facts(one, release) for one in getattr(release, part)}


def _facts(release: Release | None) -> dict[str, str]:
    if release is None:
        return {}
    facts = ("product", "version", "channel", "epoch", "sequence", "floor", "issued_at", "supported_until")
    found = {
        name.replace("_", " "): str(getattr(release, name)) for name in facts if getattr(release, name) is not None
    }
    audience = release.audience
    to = "everyone" if audience.everyone else f"{' '.join(audience.customers)} in {' '.join(audience.environments)}"
    return {
        **found,
        "audience": to,
        "from": " or ".join((*release.needs.from_, *(["nothing"] if release.needs.fresh else []))),
        "verifier": release.needs.verifier,
        "trust root": str(release.needs.trust_root),
        "trial": f"{show_duration(release.trial.at_most_seconds)}, ended by {release.trial.confirm}",
    }


def image_facts(image: Image, release: Release) -> dict[str, str]:
    """By digest, and who signed it."""
    facts = {"to": image.to, "digest": image.manifest.digest, "signed by": signed_by(image, release)}
    if image.platforms:
        facts["platforms"] = ", ".join(image.platforms)
    if image.sbom_reason:
        facts["no SBOM"] = image.sbom_reason
    return facts


def signed_by(image: Image, release: Release) -> str:
    """Whose signature over the image the release's policy asks for; it was checked at build and is at the site."""
    if image.signed_by == "none":
        return f"nobody ({image.reason or 'no reason given'})"
    signer = release.signers.get(image.signed_by)
    if signer is None:
        return image.signed_by
    who = f"key {signer.key.keyid[:12]}" if signer.key else f"{signer.identity} by {signer.issuer}"
    return f"{image.signed_by} ({who})"


def _digests(one: object, _: Release) -> dict[str, str]:
    found = getattr(one, "files", None)
    if found is not None:
        return {platform: blob.digest for platform, blob in found.items()}
    return {"digest": str(getattr(one, "digest", ""))}


def _files(release: Release | None) -> dict[str, str]:
    if release is None:
        return {}
    return {
        f"{one.name}/{entry.path}": entry.digest + (" executable" if entry.executable else "")
        for one in release.files
        for entry in one.entries
    }


def component_differences(
    old: Mapping[str, tuple[Component, ...]], new: Mapping[str, tuple[Component, ...]]
) -> Iterator[Difference]:
    """Components added, removed and changed; the same change in several images is said once, with the images."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for image in sorted(old.keys() | new.keys()):
        was, now = _versions(old.get(image, ())), _versions(new.get(image, ()))
        for identity in was.keys() | now.keys():
            change = (identity, was.get(identity, ""), now.get(identity, ""))
            if change[1] != change[2]:
                found.setdefault(change, []).append(image)
    for (identity, before, after), images in sorted(found.items()):
        how: How = "added" if not before else "removed" if not after else "changed"
        yield Difference("sbom", f"{identity} in {', '.join(images)}", how, before, after)


def _versions(components: Iterable[Component]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for one in components:
        found.setdefault(one.identity, []).append(one.version or "no version")
    return {identity: ", ".join(sorted(versions)) for identity, versions in found.items()}


def advisories_between(old: Side | None, new: Side, *, left: tuple[Release, ...] = ()) -> Advisories:
    """What going from ``old`` to ``new`` fixes and re-opens.

    A release lists what it fixes; its successors need not repeat that. So a fix is lost only on the way back: when the
    new side comes before the old one, or where its own OpenVEX says that it is affected.

    Args:
        left: Releases between the two that are given up on the way back, or taken in on the way forward.
    """
    severities = {fix.advisory: fix.severity for one in (*left, new.release) for fix in one.fixes}
    fixed_by_new = _fixed(new)
    if old is None:
        return Advisories(tuple(sorted((name, severities.get(name, "none")) for name in fixed_by_new)), ())
    back = new.release.mark < old.release.mark
    fixed_by_old = _fixed(old)
    if back:
        given_up = fixed_by_old | {fix.advisory for one in left for fix in one.fixes}
        reopened = (
            given_up - fixed_by_new - {name for name, said_ in new.advisories.items() if said_ == {"not_affected"}}
        )
        return Advisories(
            tuple(sorted((name, _severity(severities, name)) for name in fixed_by_new - fixed_by_old)),
            tuple(sorted(reopened)),
        )
    gained = (fixed_by_new | {fix.advisory for one in left for fix in one.fixes}) - fixed_by_old
    cleared = fixed_by_old | {name for name, said_ in old.advisories.items() if said_ <= {"fixed", "not_affected"}}
    reopened = {name for name in cleared if new.advisories.get(name, frozenset()) & {"affected", "under_investigation"}}
    return Advisories(
        tuple(sorted((name, _severity(severities, name)) for name in gained - reopened)), tuple(sorted(reopened))
    )


def _severity(severities: Mapping[str, str], name: str) -> str:
    return severities.get(name, "not stated")


def _fixed(side: Side) -> set[str]:
    return {fix.advisory for fix in side.release.fixes} | {
        name for name, statuses in side.advisories.items() if statuses == {"fixed"}
    }


def _advisories(old: Side | None, new: Side) -> Iterator[Difference]:
    found = advisories_between(old, new)
    for name, severity in found.fixed:
        yield Difference("advisories", name, "added", after=f"fixed ({severity})")
    for name in found.reopened:
        yield Difference("advisories", name, "removed", before="fixed")
    if old is None:
        return
    told = {name for name, _ in found.fixed} | set(found.reopened)
    for name in sorted(new.advisories.keys() - told):
        was, now = old.advisories.get(name), new.advisories[name]
        if was != now:
            yield Difference(
                "advisories", name, "changed" if was else "added", _statuses(was or frozenset()), _statuses(now)
            )


def _statuses(statuses: frozenset[str]) -> str:
    return ", ".join(sorted(one.replace("_", " ") for one in statuses))


def _schema(side: Side | None) -> dict[str, str]:
    if side is None or side.release.config is None:
        return {}
    found = {"version": str(side.release.config.version), "digest": side.release.config.schema.digest}
    if side.schema is not None:
        found |= {path: leaf.shown for path, leaf in leaves(json.loads(side.schema)).items()}
    return found


@dataclass(frozen=True)
class Leaf:
    """One value of a JSON document: what it is, and what may be shown of it."""

    value: Json
    shown: str


def config_differences(
    old: bytes | None, new: bytes | None, schemas: tuple[bytes | None, bytes | None], part: str = "config"
) -> Iterator[Difference]:
    """Path by path. A secret is never shown: a reference to one is shown as the reference that it is."""
    was = leaves(json.loads(old), hidden_by(schemas[0])) if old else {}
    now = leaves(json.loads(new), hidden_by(schemas[1])) if new else {}
    for path in sorted(was.keys() | now.keys()):
        before, after = was.get(path), now.get(path)
        if after is None and before is not None:
            yield Difference(part, path, "removed", before=before.shown)
        elif before is None and after is not None:
            yield Difference(part, path, "added", after=after.shown)
        elif before is not None and after is not None and _differ(before.value, after.value):
            # What one of the two schemas hides is hidden on both sides.
            secret = HIDDEN in (before.shown, after.shown) and "{secret:" not in before.shown + after.shown
            shown = (HIDDEN, f"{HIDDEN}, another value") if secret else (before.shown, after.shown)
            yield Difference(part, path, "changed", *shown)


def _differ(one: Json, other: Json) -> bool:
    """True and 1 are two values, though Python finds them equal."""
    return json.dumps(one, sort_keys=True) != json.dumps(other, sort_keys=True)


def leaves(value: Json, hidden: Callable[[At], bool] = lambda _: False, at: At = ()) -> dict[str, Leaf]:
    """Every value of a JSON document by its path; a list of plain values is one value."""
    if isinstance(value, dict) and set(value) == {"secret"} and isinstance(value["secret"], str):
        return {show_path(at): Leaf(value, f"{{secret: {value['secret']}}}")}
    if hidden(at):
        return {show_path(at): Leaf(value, HIDDEN)}
    below: list[tuple[str | int, Json]] = []
    if isinstance(value, dict):
        below = list(value.items())
    elif isinstance(value, list) and any(isinstance(one, dict | list) for one in value):
        below = list(enumerate(value))
    if below:
        found: dict[str, Leaf] = {}
        for key, one in below:
            found |= leaves(one, hidden, (*at, key))
        return found
    named = next((part for part in reversed(at) if isinstance(part, str)), "")
    secret = not isinstance(value, bool | None) and bool(value) and bool(_SECRET_NAME.search(named))
    return {show_path(at): Leaf(value, HIDDEN if secret else _plain(value))}


def show_path(at: At) -> str:
    """``a.b[0]``; a name that could be taken for a path is quoted, so that two paths never look the same."""
    text = ""
    for part in at:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if re.fullmatch(r"[A-Za-z0-9_$-]+", part) else json.dumps(part, ensure_ascii=False)
            text += f".{name}" if text else name
    return text or "(all of it)"


def _plain(value: Json) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def hidden_by(schema: bytes | None) -> Callable[[At], bool]:
    """Whether the schema says of a path that its value is not for showing: ``writeOnly``, or ``format: password``."""
    if schema is None:
        return lambda _: False
    top: Json = json.loads(schema)

    def node(at: At) -> Json:
        now = _resolved(top, top)
        for part in at:
            if not isinstance(now, dict):
                return None
            properties = now.get("properties")
            if isinstance(part, int):
                now = now.get("items")
            elif isinstance(properties, dict) and part in properties:
                now = properties[part]
            else:
                now = now.get("additionalProperties")
            now = _resolved(top, now)
        return now

    def hidden(at: At) -> bool:
        found = node(at)
        return isinstance(found, dict) and (found.get("writeOnly") is True or found.get("format") == "password")

    return hidden


def _resolved(top: Json, node: Json) -> Json:
    """The node, or the one in the same file that it refers to (check_config_schema allows no other)."""
    for _ in range(32):
        target = node.get("$ref") if isinstance(node, dict) else None
        if not isinstance(target, str):
            return node
        node = top
        for part in target.removeprefix("#").split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            node = node.get(key) if isinstance(node, dict) else None
    return None


def contract_differences(old: Contract | None, new: Contract | None) -> Iterator[Difference]:
    """Signals that will leave from now on, no longer, or otherwise; and the contract's own bounds."""
    yield from values("contract", _contract_facts(old), _contract_facts(new))
    was = {f"signal {one.name}": signal_facts(one) for one in old.signals} if old else {}
    now = {f"signal {one.name}": signal_facts(one) for one in new.signals} if new else {}
    yield from things("contract", was, now)


def _contract_facts(contract: Contract | None) -> dict[str, str]:
    if contract is None:
        return {}
    return {
        "name": contract.contract,
        "version": str(contract.version),
        "purpose": contract.purpose,
        "telemetry of one report": f"at most {show_size(contract.telemetry_bytes)}",
    }


def signal_facts(signal: Signal) -> dict[str, str]:
    """Everything that bounds what a signal may say."""
    facts: dict[str, str] = {"kind": signal.kind}
    if signal.core:
        facts["fields"] = ", ".join((*signal.core, *(f"{name} (optional)" for name in signal.optional)))
    else:
        facts["fields"] = ", ".join(f"{name} {show_values(value)}" for name, value in signal.fields.items())
    if signal.labels:
        facts["by"] = ", ".join(f"{name} {show_values(value)}" for name, value in signal.labels.items())
    if signal.per_seconds:
        facts["per"] = show_duration(signal.per_seconds)
    if signal.rows:
        facts["rows"] = f"at most {signal.rows}"
    source = signal.source
    if source is not None:
        found = {name: getattr(source, name) for name in source.__struct_fields__ if getattr(source, name) is not None}
        patterns = found.pop("patterns", None)
        words = [f"{name} {value}" for name, value in found.items()]
        if patterns:
            words.append("counts of " + ", ".join(f"{name} ({text})" for name, text in sorted(patterns.items())))
        facts["from"] = ", ".join(words)
    facts["kept"] = f"{show_duration(signal.keep.site)} at the site, {show_duration(signal.keep.vendor)} by the vendor"
    facts["why"] = signal.why
    return facts


def show_values(value: Values) -> str:
    unit = f" {value.unit}" if value.unit else ""
    if value.enum:
        return f"({'|'.join(value.enum)}){unit}"
    return f"({value.integer[0]}..{value.integer[1]}){unit}" if value.integer else ""


def handler_facts(handler: Handler, _: Release | None = None) -> dict[str, str]:
    """What a named command does, what it may, and exactly what is run."""
    limits = handler.limits
    return {
        "does": handler.does,
        "risk": handler.risk,
        "may": ", ".join(handler.may) or "nothing",
        "runs": argv(handler.run),
        "with": ", ".join(f"{name} {show_values(value)}" for name, value in sorted(handler.parameters.items())),
        "repeatable": "yes" if handler.repeatable else "no",
        "at most": f"{show_duration(limits.seconds)}, {show_size(limits.memory_bytes)} of memory, "
        f"{show_size(limits.output_bytes)} of output",
        "returns": handler.returns or "",
        "source": handler.source,
    }


def argv(words: tuple[str, ...]) -> str:
    """Fixed words, each set apart when it holds a space; there is no shell."""
    return " ".join(
        json.dumps(one, ensure_ascii=False) if not one or " " in one or '"' in one else one for one in words
    )


def _step_facts(step: InstallStep, _: Release) -> dict[str, str]:
    return {
        "driver": step.driver,
        "images": ", ".join(step.images),
        "files": ", ".join(step.files),
        "chart": step.chart or "",
        "migration": step.migration or "",
        "keeps running": argv(step.keep_running) if step.keep_running else "",
        "after": ", ".join(step.after),
        "downtime": show_duration(step.downtime_seconds) if step.downtime_seconds else "",
    }


def probe_facts(probe: Probe, _: Release | None = None) -> dict[str, str]:
    what = ""
    if probe.http:
        what = f"http {probe.http.endpoint} {probe.http.path} answers {probe.http.status}"
    elif probe.tcp:
        what = f"tcp {probe.tcp.endpoint}"
    elif probe.file:
        what = f"file {probe.file.files}/{probe.file.path} is as released"
    elif probe.step:
        what = f"step {probe.step} is as released"
    return {"looks at": what, "passes": f"{probe.passes} in a row, every {show_duration(probe.every_seconds)}"}


def _rollback(document: Rollback | None) -> dict[str, str]:
    if document is None:
        return {}
    found = {
        "class": document.class_,
        "back to": " or ".join(document.back_to) or "nothing",
        "loses": document.loses,
        "no return": document.no_return,
        "offered for": show_duration(document.offered_for_seconds),
        "rehearsal": document.rehearsal or "not rehearsed",
    }
    for backup in document.backup:
        found[f"backup {backup.name}"] = f"{argv(backup.make)}; at most {show_size(backup.at_most_bytes)}"
    for step in document.steps:
        undo = f"undo {argv(step.undo)}" if step.undo else "no undo"
        found[f"migration {step.name}"] = f"{argv(step.do)}; {undo}; after a crash: {step.after_crash}"
    for state in document.state:
        found[f"state {state.name}"] = f"format {state.before.writes} to {state.after.writes}"
    return found


def policy_differences(old: Policy | None, new: Policy) -> tuple[Difference, ...]:
    """People who join and leave, rules that ask more or less, and everything else that a policy says."""
    return tuple(values("policy", policy_facts(old) if old else {}, policy_facts(new)))


def policy_facts(policy: Policy) -> dict[str, str]:
    facts = {"number": str(policy.number)}
    for name, person in policy.people.items():
        keys = " and ".join(key.keyid[:12] for key in person.keys)
        accounts = f", accounts {' '.join(person.accounts)}" if person.accounts else ""
        facts[f"person {name}"] = f"{person.role}, key {keys}{accounts}"
    facts |= {f"rule {kind}": _needs(needs) for kind, needs in policy.rules.items()}
    facts |= {f"command {name}": _needs(needs) if needs else "allowed" for name, needs in policy.commands.items()}
    for one in policy.emergency:
        when = one.when
        facts[f"emergency {one.name}"] = (
            f"{_needs(one.needs)} for {when.change} that fixes {' or '.join(when.severity)} and goes back "
            f"{' or '.join(when.rollback)}; never {', '.join(one.never) or 'excluded'}; {one.uses} uses, "
            f"{one.until_installs} installs"
        )
    facts["veto"] = ", ".join(policy.veto) or "nobody"
    facts["proposer counts"] = "yes" if policy.proposer_counts else "no"
    facts["confirm"] = policy.confirm.by + (f", or {policy.confirm.or_person}" if policy.confirm.or_person else "")
    facts["time"] = policy.time
    facts["windows"] = ("enforced" if policy.windows.enforce else "asks for a reason") + (
        f": {', '.join(policy.windows.times)}" if policy.windows.times else ", none named"
    )
    facts["refuse everyone's releases"] = "yes" if policy.refuse.everyone_audience else "no"
    facts["refuse unsigned images"] = "yes" if policy.refuse.unsigned_images else "no"
    return facts


def _needs(needs: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {role}" for role, count in sorted(needs.items())) or "automatic"


def root_differences(old: Root, new: Root) -> tuple[Difference, ...]:
    """Who joins and who leaves, role by role."""
    return tuple(values("root", _root_facts(old), _root_facts(new)))


def _root_facts(root: Root) -> dict[str, str]:
    facts = {"vendor": root.vendor, "version": str(root.version), "epoch": str(root.epoch)}
    facts["practice"] = "yes" if root.practice else "no"
    for name, role in root.roles.items():
        facts[f"{name} threshold"] = f"{role.threshold} of {len(role.keys)}"
        if role.products:
            facts[f"{name} products"] = ", ".join(role.products)
        facts |= {f"{name} key {keyid[:12]}": "counts" for keyid in role.keys}
    facts |= {f"key {keyid[:12]} left": leaver.how for keyid, leaver in root.leave.items()}
    return facts


def document_differences(old: Json, new: Json) -> tuple[Difference, ...]:
    """Two documents of one kind, value by value."""
    return tuple(config_differences(json.dumps(old).encode(), json.dumps(new).encode(), (None, None), part="document"))
