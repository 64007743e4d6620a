"""Who has to sign a document of a request, as it was when the folder was prepared. Nothing vouches for the file."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from content.bundle.head import open_head
from content.signing.allowed_keys import newest_root, root_and_before, root_for_authorisation
from content.signing.surroundings import Surroundings
from manifests.documents.authorisation import MAX_AUTHORISATION, parse_authorisation
from manifests.trust.keys import PublicKey, read_capped
from manifests.trust.revocations import MAX_REVOCATIONS, parse_revocations
from manifests.trust.root import MAX_ROOT, Role, parse_root
from manifests.words.canonical import Document, encode, parse
from manifests.words.digest import Positive, Text
from manifests.words.errors import RefusedError, WaybillError

SIGNERS = "signers.json"
MAX_SIGNERS = 1 << 20


class NamedKey(Document, frozen=True, kw_only=True):
    """A key of a role. Attributes: name: the vendor's own name of it, where trust.yaml has one; key: the key itself."""

    keyid: Text
    name: Text | None = None
    key: PublicKey | None = None

    @property
    def shown(self) -> str:
        return f"{self.name} ({self.keyid[:12]})" if self.name else self.keyid


class SigningRole(Document, frozen=True, kw_only=True):
    """Keys of which ``threshold`` must sign. Attributes: what: the role in words, such as `root keys of version 2`."""

    what: Text
    threshold: Positive
    keys: Annotated[tuple[NamedKey, ...], Meta(max_length=4096)]


class RequestSigners(Document, frozen=True, kw_only=True):
    """Who had signed, and who had to, when the folder was prepared.

    Attributes:
        file: The file that is signed, as it was named to `sign --prepare`.
        folder: The folder, as it was named there.
        signed: Ids of the keys that had signed.
        names: The vendor's own names of all its keys, by id.
    """

    file: Text
    folder: Text
    roles: Annotated[tuple[SigningRole, ...], Meta(max_length=2)]
    signed: Annotated[tuple[Text, ...], Meta(max_length=4096)] = ()
    names: Annotated[dict[Text, Text], Meta(max_length=4096)] = {}

    def missing_after(self, *keyids: str) -> tuple[str, ...]:
        """Return who is missing once ``keyids`` have signed too, a line for each role that needs more."""
        signed = {*self.signed, *keyids}
        lines = []
        for role in self.roles:
            have = sum(key.keyid in signed for key in role.keys)
            if have < role.threshold:
                others = ", ".join(key.shown for key in role.keys if key.keyid not in signed)
                lines.append(f"{role.threshold - have} more of the {role.what}: {others}")
        return tuple(lines)

    @property
    def keys(self) -> tuple[PublicKey, ...]:
        """The keys that may sign; none when one of them is not in the file, or cannot be checked here."""
        keys = [named.key for role in self.roles for named in role.keys]
        known = tuple(key for key in keys if key is not None and key.known)
        return known if len(known) == len(keys) else ()

    def check_may_sign(self, keyid: str, folder: Path) -> None:
        """Raise RefusedError unless the key is one of those that had to sign when the folder was prepared."""
        if self.may_sign(keyid):
            return
        roles = " or ".join(role.what for role in self.roles)
        keys = ", ".join(dict.fromkeys(named.shown for role in self.roles for named in role.keys))
        raise RefusedError(
            f"key {keyid} is none of the {roles}, so --attach would refuse its signature; nothing was signed",
            where=str(folder / SIGNERS),
            remedy=f"sign with one of {keys}; if {SIGNERS} is wrong, remove it, or prepare the folder again",
            finding="signature-role",
        )

    def may_sign(self, keyid: str) -> bool:
        return any(key.keyid == keyid for role in self.roles for key in role.keys)


def signers_file(file: Path, kind: str, folder: Path, around: Surroundings) -> tuple[tuple[str, bytes], ...]:
    """Return name and content of the file for a request; nothing where the root that says who signs is not here."""
    with suppress(WaybillError):
        roles, keys, signed = _ROLES[kind](file)
        document = RequestSigners(
            file=str(file),
            folder=str(folder),
            roles=tuple(
                SigningRole(what=what, threshold=role.threshold, keys=tuple(_named(role.keys, keys, around)))
                for what, role in roles
            ),
            signed=tuple(sorted(signed)),
            names=dict(around.key_names),
        )
        return ((SIGNERS, encode(document)),)
    return ()


def read_signers(folder: Path) -> RequestSigners | None:
    """Return what the folder says; None when it says nothing that can be read."""
    with suppress(WaybillError):
        return parse(read_capped(folder / SIGNERS, MAX_SIGNERS), RequestSigners, SIGNERS, max_bytes=MAX_SIGNERS)
    return None


def _named(keyids: Iterable[str], keys: Mapping[str, PublicKey], around: Surroundings) -> Iterable[NamedKey]:
    return (NamedKey(keyid=keyid, name=around.key_names.get(keyid), key=keys.get(keyid)) for keyid in keyids)


_Roles = tuple[list[tuple[str, Role]], Mapping[str, PublicKey], set[str]]


def _of_bundle(file: Path) -> _Roles:
    head = open_head(file)
    root = parse_root(head.roots[-1], "trust").root
    signed = {signature.keyid for signature in head.signatures}
    return [(f"release keys of root {root.version}", root.roles["release"])], root.keys, signed


def _of_root(file: Path) -> _Roles:
    signatures = parse_root(read_capped(file, MAX_ROOT), str(file)).envelope.signatures
    roots = root_and_before(file)
    roles = [(f"root keys of version {root.version}", root.roles["root"]) for root in roots]
    return (
        roles,
        {keyid: key for root in roots for keyid, key in root.keys.items()},
        {signature.keyid for signature in signatures},
    )


def _of_list(file: Path) -> _Roles:
    root = newest_root(file.parent)
    signatures = parse_revocations(read_capped(file, MAX_REVOCATIONS), str(file))[0].signatures
    return [(f"root keys of root {root.version}", root.roles["root"])], root.keys, {one.keyid for one in signatures}


def _of_authorisation(file: Path) -> _Roles:
    root = root_for_authorisation(file)
    signatures = parse_authorisation(read_capped(file, MAX_AUTHORISATION), str(file))[0].signatures
    return (
        [(f"rollback keys of root {root.version}", root.roles["rollback"])],
        root.keys,
        {one.keyid for one in signatures},
    )


_ROLES: dict[str, Callable[[Path], _Roles]] = {
    "bundle": _of_bundle,
    "root": _of_root,
    "list": _of_list,
    "authorisation": _of_authorisation,
}
