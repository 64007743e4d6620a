"""What the vendor's documents say, in words: root, revocation list, authorisation. `show` and `sign` use it."""

from collections.abc import Collection, Mapping
from types import MappingProxyType

from manifests.documents.authorisation import Authorisation
from manifests.trust.revocations import Revocations
from manifests.trust.root import Mark, Root

Rows = list[tuple[str, str]]
Names = Mapping[str, str]
NO_NAMES: Names = MappingProxyType({})


def root_rows(root: Root, names: Names = NO_NAMES) -> Rows:
    """Return roles, thresholds, products, and keys that left; ``names`` are the vendor's names of keys, by id."""
    known = {id_: one.name for id_, one in root.identities.items()}
    rows = []
    for name, held in sorted(root.roles.items()):
        products = f" for {', '.join(held.products)}" if held.products else ""
        who = ", ".join(known.get(keyid, key_text(keyid, names)) for keyid in held.keys)
        rows.append(("role", f"{name}: {held.threshold} of {who}{products}"))
    return rows + [("left", f"{key_text(keyid, names)}: {leaver.how}") for keyid, leaver in sorted(root.leave.items())]


def revocation_rows(revoked: Revocations, names: Names = NO_NAMES, old: Collection[str] | None = None) -> Rows:
    """Return what is revoked; an entry that is not in ``old`` is called new.

    ``names`` are those of keys, releases and handlers as far as known, by id or digest.
    """
    listed = (("key", revoked.keys), ("release", revoked.releases), ("handler", revoked.handlers))
    rows = []
    for kind, entries in listed:
        for entry in entries:
            shown = f"{entry} ({names[entry]})" if entry in names else entry
            shown = key_text(entry, names) if kind == "key" and entry in names else shown
            rows.append((kind, f"{shown}{', new' if old is not None and entry not in old else ''}"))
    return rows


def authorisation_rows(permit: Authorisation, fingerprint: str) -> Rows:
    """Return what is permitted, from where to where; ``fingerprint`` is the digest of what is signed."""
    leaves, goes_to = permit.leaves, permit.goes_to
    return [
        ("permits", f"one rollback below the floor: authorisation {permit.number} of {permit.vendor}"),
        ("at", ", ".join(permit.sites) or "every site that runs the release which carries it"),
        ("leaves", f"{permit.product}, {place_text(leaves.channel, leaves.mark)}"),
        ("goes to", f"{permit.product} {goes_to.version}, {place_text(goes_to.channel, goes_to.mark)}"),
        ("", goes_to.release),
        ("because", permit.why),
        ("loses", permit.loses),
        ("reopens", ", ".join(permit.reopens) or "no advisory"),
        ("issued", permit.issued_at),
        ("spent as", fingerprint),
    ]


def place_text(channel: str, mark: Mark) -> str:
    return f"{channel} {mark.sequence} of epoch {mark.epoch}"


def key_text(keyid: str, names: Names) -> str:
    """Return the vendor's name of a key and the start of its id; of a key without a name the start alone."""
    return f"{names[keyid]} ({keyid[:12]})" if keyid in names else keyid[:12]
