"""Describe what a new version of a root changes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from manifests.trust.root import Leaver, Root


@dataclass(frozen=True)
class RootChange:
    """What differs.

    Attributes:
        joins, leaves: (role, key id) pairs, sorted; for ``sigstore`` the digest of a ``trusted_root.json``.
        how: In which way keys have left, by key id.
        others: Everything else, in words.
        identities: Names of those among them that are no keys, by id.
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
        """One line each; ``names`` are the vendor's own for its keys."""

        def name(keyid: str) -> str:
            shown = self.identities.get(keyid, keyid[:12] if len(keyid) == 64 else keyid)
            return f"{shown} ({names[keyid]})" if keyid in names else shown

        joins = [f"joins        {role}: {name(keyid)}" for role, keyid in self.joins]
        leaves = [f"leaves       {role}: {name(keyid)}{_left(self.how.get(keyid))}" for role, keyid in self.leaves]
        return (*joins, *leaves, *(f"changes      {one}" for one in self.others))


def _left(leaver: Leaver | None) -> str:
    if leaver is None:
        return ""
    last = f" after epoch {leaver.last.epoch}, sequence {leaver.last.sequence}" if leaver.last else ""
    return f", {leaver.how}{last}"


def change_of_roots(before: Root | None, after: Root) -> RootChange:
    """What ``after`` changes; everything joins a first version."""
    now = {(role, keyid) for role, held in after.roles.items() for keyid in held.keys}
    was = {(role, keyid) for role, held in (before.roles if before else {}).items() for keyid in held.keys}
    now |= {("sigstore", digest) for digest in after.sigstore}
    was |= {("sigstore", digest) for digest in (before.sigstore if before else ())}
    others = [] if before is None else _others(before, after)
    identities = {**(before.identities if before else {}), **after.identities}
    return RootChange(
        joins=tuple(sorted(now - was)),
        leaves=tuple(sorted(was - now)),
        how=dict(after.leave),
        others=tuple(others),
        identities={id_: one.name for id_, one in identities.items()},
    )


def _others(before: Root, after: Root) -> list[str]:
    found = []
    for name in sorted(set(before.roles) & set(after.roles)):
        old, new = before.roles[name], after.roles[name]
        if old.threshold != new.threshold:
            found.append(f"threshold of {name} from {old.threshold} to {new.threshold}")
        found += [f"{name} speaks for {one}" for one in sorted(set(new.products) - set(old.products))]
        found += [f"{name} no longer speaks for {one}" for one in sorted(set(old.products) - set(new.products))]
    left = {keyid for role in before.roles.values() for keyid in role.keys}
    for keyid, leaver in sorted(after.leave.items()):
        # Those that leave a role right now are listed as such.
        if before.leave.get(keyid) != leaver and keyid not in left:
            found.append(f"{keyid[:12]}{_left(leaver)}")
    found += [f"{keyid[:12]} is no longer said to have left" for keyid in sorted(set(before.leave) - set(after.leave))]
    if before.epoch != after.epoch:
        found.append(f"epoch from {before.epoch} to {after.epoch}")
    if before.practice != after.practice:
        found.append("practice" if after.practice else "no longer practice")
    return found
