"""Who has to sign a document of a request, as it was when the folder was prepared. Nothing vouches for the file."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from content.bundle.head import open_head
from content.signing.allowed_keys import newest_root, root_and_before, root_for_authorisation
from content.signing.surroundings import Surroundings
from manifests.documents.authorisation import MAX_AUTHORISATION, parse_authorisation
from manifests.trust.keys import read_capped
from manifests.trust.revocations import MAX_REVOCATIONS, parse_revocations
from manifests.trust.root import MAX_ROOT, Role, parse_root
from manifests.words.canonical import Document, encode, parse
from manifests.words.digest import Positive, Text
from manifests.words.errors import WaybillError

SIGNERS = "signers.json"
MAX_SIGNERS = 1 << 20


class NamedKey(Document, frozen=True, kw_only=True):
    """A key of a role. Attributes: name: the vendor's own name of it, where trust.yaml has one."""

    keyid: Text
    name: Text | None = None

    @property
    def shown(self) -> str:
        return self.keyid + (f" ({self.name})" if self.name else "")


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
    """

    file: Text
    folder: Text
    roles: Annotated[tuple[SigningRole, ...], Meta(max_length=2)]
    signed: Annotated[tuple[Text, ...], Meta(max_length=4096)] = ()

    def missing_after(self, keyid: str) -> tuple[str, ...]:
        """Return who is missing once ``keyid`` has signed too, a line for each role that needs more."""
        signed = {*self.signed, keyid}
        lines = []
        for role in self.roles:
            have = sum(key.keyid in signed for key in role.keys)
            if have < role.threshold:
                others = ", ".join(key.shown for key in role.keys if key.keyid not in signed)
                lines.append(f"{role.threshold - have} more of the {role.what}: {others}")
        return tuple(lines)

    def may_sign(self, keyid: str) -> bool:
        return any(key.keyid == keyid for role in self.roles for key in role.keys)


def signers_file(file: Path, kind: str, folder: Path, around: Surroundings) -> tuple[tuple[str, bytes], ...]:
    """Return name and content of the file for a request; nothing where the root that says who signs is not here."""
    with suppress(WaybillError):
        roles, signed = _ROLES[kind](file)
        document = RequestSigners(
            file=str(file),
            folder=str(folder),
            roles=tuple(
                SigningRole(what=what, threshold=role.threshold, keys=tuple(_named(role.keys, around)))
                for what, role in roles
            ),
            signed=tuple(sorted(signed)),
        )
        return ((SIGNERS, encode(document)),)
    return ()


def read_signers(folder: Path) -> RequestSigners | None:
    """Return what the folder says; None when it says nothing that can be read."""
    with suppress(WaybillError):
        return parse(read_capped(folder / SIGNERS, MAX_SIGNERS), RequestSigners, SIGNERS, max_bytes=MAX_SIGNERS)
    return None


def _named(keyids: Iterable[str], around: Surroundings) -> Iterable[NamedKey]:
    return (NamedKey(keyid=keyid, name=around.key_names.get(keyid)) for keyid in keyids)


_Roles = tuple[list[tuple[str, Role]], set[str]]


def _of_bundle(file: Path) -> _Roles:
    head = open_head(file)
    root = parse_root(head.roots[-1], "trust").root
    signed = {signature.keyid for signature in head.signatures}
    return [(f"release keys of root {root.version}", root.roles["release"])], signed


def _of_root(file: Path) -> _Roles:
    signatures = parse_root(read_capped(file, MAX_ROOT), str(file)).envelope.signatures
    roles = [(f"root keys of version {root.version}", root.roles["root"]) for root in root_and_before(file)]
    return roles, {signature.keyid for signature in signatures}


def _of_list(file: Path) -> _Roles:
    root = newest_root(file.parent)
    signatures = parse_revocations(read_capped(file, MAX_REVOCATIONS), str(file))[0].signatures
    return [(f"root keys of root {root.version}", root.roles["root"])], {one.keyid for one in signatures}


def _of_authorisation(file: Path) -> _Roles:
    root = root_for_authorisation(file)
    signatures = parse_authorisation(read_capped(file, MAX_AUTHORISATION), str(file))[0].signatures
    return [(f"rollback keys of root {root.version}", root.roles["rollback"])], {one.keyid for one in signatures}


_ROLES: dict[str, Callable[[Path], _Roles]] = {
    "bundle": _of_bundle,
    "root": _of_root,
    "list": _of_list,
    "authorisation": _of_authorisation,
}
