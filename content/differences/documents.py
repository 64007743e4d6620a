"""Differences between two contracts, two policies, two root documents, or two documents of another kind."""

import json
from collections.abc import Iterator, Mapping

from content.differences.compare_values import Difference, compare_facts, compare_items, show_values
from content.differences.config import config_differences
from manifests.documents.contract import Contract, Signal
from manifests.documents.policy import Policy
from manifests.trust.root import Root
from manifests.words.units import show_duration, show_size


def contract_differences(old: Contract | None, new: Contract | None) -> Iterator[Difference]:
    """Yield the differences of two contracts: their limits, and the signals added, removed and changed."""
    yield from compare_facts("contract", _contract_facts(old), _contract_facts(new))
    was = {f"signal {one.name}": signal_facts(one) for one in old.signals} if old else {}
    now = {f"signal {one.name}": signal_facts(one) for one in new.signals} if new else {}
    yield from compare_items("contract", was, now)


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
    """Return every limit of a signal."""
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
        limits = {name: getattr(source, name) for name in source.__struct_fields__ if getattr(source, name) is not None}
        patterns = limits.pop("patterns", None)
        words = [f"{name} {value}" for name, value in limits.items()]
        if patterns:
            words.append("counts of " + ", ".join(f"{name} ({text})" for name, text in sorted(patterns.items())))
        facts["from"] = ", ".join(words)
    facts["kept"] = f"{show_duration(signal.keep.site)} at the site, {show_duration(signal.keep.vendor)} by the vendor"
    facts["why"] = signal.why
    return facts


def policy_differences(old: Policy | None, new: Policy) -> tuple[Difference, ...]:
    """Return the differences of two policies: people, rules and settings."""
    return tuple(compare_facts("policy", policy_facts(old) if old else {}, policy_facts(new)))


def policy_facts(policy: Policy) -> dict[str, str]:
    facts = {"number": str(policy.number)}
    for name, person in policy.people.items():
        keys = " and ".join(key.keyid[:12] for key in person.keys)
        accounts = f", accounts {' '.join(person.accounts)}" if person.accounts else ""
        facts[f"person {name}"] = f"{person.role}, key {keys}{accounts}"
    facts |= {f"rule {kind}": _needs(needs) for kind, needs in policy.rules.items()}
    facts |= {f"command {name}": _needs(needs) if needs else "allowed" for name, needs in policy.commands.items()}
    for rule in policy.emergency:
        when = rule.when
        facts[f"emergency {rule.name}"] = (
            f"{_needs(rule.needs)} for {when.change} that fixes {' or '.join(when.severity)} and goes back "
            f"{' or '.join(when.rollback)}; never {', '.join(rule.never) or 'excluded'}; {rule.uses} uses, "
            f"{rule.until_installs} installs"
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
    """Return the differences of two roots, role by role."""
    return tuple(compare_facts("root", _root_facts(old), _root_facts(new)))


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


def document_differences(old: dict[str, object], new: dict[str, object]) -> tuple[Difference, ...]:
    """Return the differences of two documents of one kind, by path."""
    return tuple(config_differences(json.dumps(old).encode(), json.dumps(new).encode(), (None, None), part="document"))
