"""Describe what a new version of a root changes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from manifests.trust.root import Leaver, Root


@dataclass(frozen=True)
class RootChange:
    """Differences between two versions of a root.

    Attributes:
        joins, leaves: (role, key id) pairs, sorted; for ``sigstore`` the digest of a ``trusted_root.json``.
        how: How keys left, by key id.
        others: Other changes, as text.
        identities: Names of identities, by id.
    """

    joins: tuple[tuple[str, str], ...]
    leaves: tuple[tuple[str, str], ...]
    how: Mapping[str, Leaver]
    others: tuple[str, ...]
    identities: Mapping[str, str] = field(default_factory=dict)

    @property
    def lines(self) -> tuple[str, ...]:
        return self.named({})

    def named(self, names: Mapping[str, str]) -> tuple[str, ...]:
        """Return one line for each change; ``names`` are the vendor's names of its keys."""

        def name(keyid: str) -> str:
            if keyid in self.identities:
                return self.identities[keyid] + (f" ({names[keyid]})" if keyid in names else "")
            shown = keyid[:12] if len(keyid) == 64 else keyid
            return f"{names[keyid]} ({shown})" if keyid in names else shown

        joins = [f"joins        {role}: {name(keyid)}" for role, keyid in self.joins]
        leaves = [
            f"leaves       {role}: {name(keyid)}{_left(self.how.get(keyid), role)}" for role, keyid in self.leaves
        ]
        return (*joins, *leaves, *(f"changes      {one}" for one in self.others))


def _left(leaver: Leaver | None, role: str = "release") -> str:
    """How a key left; the last release says nothing about another role than ``release``."""
    if leaver is None:
        return ""
    last = f" after epoch {leaver.last.epoch}, sequence {leaver.last.sequence}" if leaver.last else ""
    last = last if role == "release" else ""
    return f", {leaver.how}{last}"


def change_of_roots(before: Root | None, after: Root) -> RootChange:
    """Return what ``after`` changes; in a first version every key joins."""
    new = {(role, keyid) for role, held in after.roles.items() for keyid in held.keys}
    old = {(role, keyid) for role, held in (before.roles if before else {}).items() for keyid in held.keys}
    new |= {("sigstore", digest) for digest in after.sigstore}
    old |= {("sigstore", digest) for digest in (before.sigstore if before else ())}
    others = [] if before is None else _others(before, after)
    identities = {**(before.identities if before else {}), **after.identities}
    return RootChange(
        joins=tuple(sorted(new - old)),
        leaves=tuple(sorted(old - new)),
        how=dict(after.leave),
        others=tuple(others),
        identities={id_: one.name for id_, one in identities.items()},
    )


def _others(before: Root, after: Root) -> list[str]:
    changes = []
    for name in sorted(set(before.roles) & set(after.roles)):
        old, new = before.roles[name], after.roles[name]
        if old.threshold != new.threshold:
            changes.append(f"threshold of {name} from {old.threshold} to {new.threshold}")
        changes += [f"{name} signs product {one}" for one in sorted(set(new.products) - set(old.products))]
        changes += [f"{name} no longer signs product {one}" for one in sorted(set(old.products) - set(new.products))]
    left = {keyid for role in before.roles.values() for keyid in role.keys}
    for keyid, leaver in sorted(after.leave.items()):
        # Keys that leave a role in this version are listed under ``leaves``.
        if before.leave.get(keyid) != leaver and keyid not in left:
            changes.append(f"{keyid[:12]}{_left(leaver)}")
    changes += [f"{keyid[:12]} no longer recorded as left" for keyid in sorted(set(before.leave) - set(after.leave))]
    if before.epoch != after.epoch:
        changes.append(f"epoch from {before.epoch} to {after.epoch}")
    if before.practice != after.practice:
        changes.append("practice" if after.practice else "no longer practice")
    return changes
