"""Differences between two policies, or two root documents."""

import json
from collections.abc import Mapping

from manifests.documents.policy import Policy
from manifests.trust.root import Root
from verifier.approval.differences.compare_values import Difference, compare_facts
from verifier.approval.differences.config import config_differences


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
