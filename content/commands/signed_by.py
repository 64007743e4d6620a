"""Show which keys have signed a document, and which are missing."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from shlex import quote
from types import MappingProxyType

from console.result import Result
from content.signing.allowed_keys import root_for_authorisation
from content.signing.surroundings import Surroundings
from manifests.documents.described import key_text
from manifests.trust.root import Root, SignedRoot
from manifests.words.errors import WaybillError
from manifests.words.fingerprint import as_groups, as_words


def describe_root(signed: SignedRoot, before: Root | None, names: Mapping[str, str] = MappingProxyType({})) -> Result:
    """Fingerprint and signatures of a root document; ``names`` are the vendor's own names of keys, if known."""
    text = [
        f"root         {signed.root.vendor}, version {signed.root.version}" + (" (practice)" * signed.root.practice),
        f"fingerprint  {as_groups(signed.fingerprint)}",
        f"             {as_words(signed.fingerprint)}",
    ]
    keyids = {signature.keyid for signature in signed.envelope.signatures}
    role = signed.root.roles["root"]
    result = signature_status(text, keyids, role.keys, role.threshold, names)
    extra: list[str] = []
    missing_before: list[str] = []
    if before is not None:
        old = before.roles["root"]
        leaving = sorted((keyids & set(old.keys)) - set(role.keys))
        extra += [f"signed by    {key_list([key], names)}, a root key of version {before.version}" for key in leaving]
        have = len(keyids & set(old.keys))
        if have < old.threshold:
            missing_before = sorted(set(old.keys) - keyids)
            of = key_list(missing_before, names)
            extra.append(f"missing      {old.threshold - have} more of the root keys of version {before.version}: {of}")
    data = {
        **result.data,
        "missing_before": missing_before,
        "finished": not result.data["missing"] and not missing_before,
        "vendor": signed.root.vendor,
        "version": signed.root.version,
        "practice": signed.root.practice,
        "fingerprint": signed.fingerprint,
        "groups": as_groups(signed.fingerprint),
        "words": as_words(signed.fingerprint),
    }
    return Result("\n".join([result.text, *extra]), data)


def signature_status(
    text: list[str],
    signed: set[str],
    keys: tuple[str, ...],
    threshold: int,
    names: Mapping[str, str] = MappingProxyType({}),
) -> Result:
    """The keys that have signed, and those that are missing."""
    have = sorted(signed & set(keys))
    missing = sorted(set(keys) - signed)
    text += [f"signed by    {key_list([keyid], names)}" for keyid in have]
    if len(have) < threshold:
        text.append(f"missing      {threshold - len(have)} more of {key_list(missing, names)}")
    data = {"signed_by": have, "missing": missing if len(have) < threshold else [], "threshold": threshold}
    return Result("\n".join(text), data)


def key_list(keyids: Sequence[str], names: Mapping[str, str]) -> str:
    """Return the keys by name; a key without a name has its whole id."""
    return ", ".join(key_text(keyid, names) if keyid in names else keyid for keyid in keyids)


def with_next(result: Result, file: Path, kind: str, around: Surroundings) -> Result:
    """``result`` of a signature, and the next command: for a signature that is missing, else for the finished file."""
    missing = [*result.data["missing"], *result.data.get("missing_before", ())]
    path = quote(str(file))
    if missing:
        # A key that both versions of a root lack brings the root further than one of the new version alone.
        key = around.keys.best_option(sorted(missing, key=missing.count, reverse=True))
        sign = f"waybill sign {path}"
        lines = ["next:", f"  {sign} --key {key}", "or, if the key is on another machine:", f"  {sign} --prepare DIR"]
    else:
        lines = ["next:", f"  {_FINISHED[kind].format(path, key=_consignment_key(file, kind, around))}"]
    return Result("\n".join([result.text, "", *lines]), result.data)


def _consignment_key(file: Path, kind: str, around: Surroundings) -> str:
    """Return what `--key` takes for a consignment that carries ``file``; KEY where the vendor's root is not here."""
    if kind in ("list", "authorisation"):
        with suppress(WaybillError):
            return around.keys.best_option(root_for_authorisation(file).roles["consignment"].keys)
    return "KEY"


_FINISHED = {
    "bundle": 'waybill verify {} --fingerprint "WORDS OF THE PAPER"',
    "root": "waybill show {} --page paper.html",
    "list": "waybill fleet consign SITE -o MEDIUM --key {key} --revocations {}",
    "authorisation": "waybill fleet consign SITE -o MEDIUM --key {key} --authorisation {}",
}
