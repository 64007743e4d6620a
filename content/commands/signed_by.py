"""Show who has signed a document, and who is missing."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from console.result import Result
from manifests.trust.root import Root, SignedRoot
from manifests.words.fingerprint import as_groups, as_words


def describe_root(found: SignedRoot, before: Root | None, names: Mapping[str, str] | None = None) -> Result:
    """Fingerprint and standing of a root document, for people and programs.

    Args:
        names: The vendor's own names of keys, where they are known.
    """
    text = [
        f"root         {found.root.vendor}, version {found.root.version}" + (" (practice)" * found.root.practice),
        f"fingerprint  {as_groups(found.fingerprint)}",
        f"             {as_words(found.fingerprint)}",
    ]
    signed = {one.keyid for one in found.envelope.signatures}
    role = found.root.roles["root"]
    result = signature_status(text, signed, role.keys, role.threshold, names or {})
    extra: list[str] = []
    missing_before: list[str] = []
    if before is not None:
        old = before.roles["root"]
        have = len(signed & set(old.keys))
        if have < old.threshold:
            missing_before = sorted(set(old.keys) - signed)
            of = _names(missing_before, names or {})
            extra.append(f"missing      {old.threshold - have} more of the root keys of version {before.version}: {of}")
    data = {
        **result.data,
        "missing_before": missing_before,
        "finished": not result.data["missing"] and not missing_before,
        "vendor": found.root.vendor,
        "version": found.root.version,
        "practice": found.root.practice,
        "fingerprint": found.fingerprint,
        "groups": as_groups(found.fingerprint),
        "words": as_words(found.fingerprint),
    }
    return Result("\n".join([result.text, *extra]), data)


def signature_status(
    text: list[str],
    signed: set[str],
    keys: tuple[str, ...],
    threshold: int,
    names: Mapping[str, str] = MappingProxyType({}),
) -> Result:
    """Who has signed, how many must, who is missing."""
    have = sorted(signed & set(keys))
    missing = sorted(set(keys) - signed)
    text += [f"signed by    {_names([keyid], names)}" for keyid in have]
    if len(have) < threshold:
        text.append(f"missing      {threshold - len(have)} more of {_names(missing, names)}")
    data = {"signed_by": have, "missing": missing if len(have) < threshold else [], "threshold": threshold}
    return Result("\n".join(text), data)


def _names(keyids: Sequence[str], names: Mapping[str, str]) -> str:
    return ", ".join(f"{one[:12]} ({names[one]})" if one in names else one[:12] for one in keyids)
