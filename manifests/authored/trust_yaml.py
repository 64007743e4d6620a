"""The values of ``trust.yaml``, and their checks."""

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta

from manifests.authored.handwritten import Handwritten, PathText
from manifests.trust.root import ROLES, Mark
from manifests.words.canonical import Document
from manifests.words.digest import Digest, Name, Positive, Text
from manifests.words.errors import MalformedError


class TrustKeyFile(Document, frozen=True, kw_only=True):
    """A key, or an identity instead of one.

    Attributes:
        public: Path of the PEM file.
        use: Where this vendor signs with it (``file:PATH``).
    """

    public: PathText | None = None
    use: PathText | None = None
    identity: Text | None = None
    issuer: Text | None = None


class TrustRoleFile(Document, frozen=True, kw_only=True):
    keys: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=64)]
    threshold: Annotated[int, Meta(ge=1, le=64)]
    products: Annotated[tuple[Name, ...], Meta(max_length=256)] = ()


class LeaveFile(Document, frozen=True, kw_only=True):
    """A key that left.

    Attributes:
        last: Last release that a retired key may have signed; needed for a key of the role ``release`` alone.
    """

    key: Name
    how: Literal["retired", "revoked"]
    last: Mark | None = None


class RevokedFile(Document, frozen=True, kw_only=True):
    """What is no longer good: names of keys, digests of releases, digests of handlers as `waybill show` prints them."""

    keys: Annotated[tuple[Name, ...], Meta(max_length=4096)] = ()
    releases: Annotated[tuple[Digest, ...], Meta(max_length=4096)] = ()
    handlers: Annotated[tuple[Digest, ...], Meta(max_length=4096)] = ()


class TrustFile(Document, frozen=True, kw_only=True):
    """``trust.yaml``. Key names are the vendor's own and appear in no document.

    Attributes:
        revoked: Becomes the revocation list.
        sigstore: Paths of the ``trusted_root.json`` files that identities are verified with.
    """

    waybill: Literal[1]
    vendor: Name
    practice: bool = False
    epoch: Positive
    keys: Annotated[dict[Name, TrustKeyFile], Meta(min_length=1, max_length=256)]
    roles: Annotated[dict[Name, TrustRoleFile], Meta(min_length=1, max_length=64)]
    leave: Annotated[tuple[LeaveFile, ...], Meta(max_length=1024)] = ()
    revoked: RevokedFile = RevokedFile()
    sigstore: Annotated[tuple[PathText, ...], Meta(max_length=16)] = ()


def trust_problems(file: Handwritten, trust: TrustFile) -> Iterator[MalformedError]:
    """Yield everything that cannot hold inside ``trust.yaml``, each with ``file:line``."""
    for name, key in trust.keys.items():
        yield from _key_problems(file, trust, name, key)
    for name in ROLES:
        if name not in trust.roles:
            yield file.wrong(f"role {name!r} is missing", "$.roles")
    for name, role in trust.roles.items():
        yield from _role_key_problems(file, trust, name, role)
        yield from _role_number_problems(file, name, role)
    yield from _revoked_problems(file, trust)
    for i in range(len(trust.leave)):
        yield from _leave_problems(file, trust, i)


def _key_problems(file: Handwritten, trust: TrustFile, name: str, key: TrustKeyFile) -> Iterator[MalformedError]:
    where = file.at(f"$.keys.{name}")
    by_identity = key.identity is not None and key.issuer is not None
    half = (key.identity is None) != (key.issuer is None) or (key.use is not None and key.public is None)
    if (key.public is not None) == by_identity or half:
        yield MalformedError(f"{name!r} needs either public, or identity and issuer", where=where)
    if by_identity and not trust.sigstore:
        problem = f"{name!r} is an identity, and `sigstore` names no trusted root for it"
        yield MalformedError(problem, where=where, remedy="add `sigstore: [PATH]`, the path of a trusted_root.json")


def _role_key_problems(file: Handwritten, trust: TrustFile, name: str, role: TrustRoleFile) -> Iterator[MalformedError]:
    if name not in ROLES:
        yield file.wrong(f"{name!r} is not a role, expected {', '.join(ROLES)}", f"$.roles.{name}")
    where = file.at(f"$.roles.{name}.keys")
    for key in role.keys:
        if key not in trust.keys:
            yield MalformedError(f"{key!r} is not under `keys`", where=where)
        elif name != "release" and trust.keys[key].identity is not None:
            yield MalformedError(f"{key!r} is an identity, and only the role release has those", where=where)


def _role_number_problems(file: Handwritten, name: str, role: TrustRoleFile) -> Iterator[MalformedError]:
    path = f"$.roles.{name}"
    for group, names in (("keys", role.keys), ("products", role.products)):
        if len(set(names)) != len(names):
            yield file.wrong("a name is given twice", f"{path}.{group}")
    if role.threshold > len(set(role.keys)):
        problem = f"threshold {role.threshold} is above the number of keys, {len(set(role.keys))}"
        yield file.wrong(problem, f"{path}.threshold")
    if bool(role.products) != (name == "release"):
        problem = "`products` belongs to the role release alone, which needs it"
        yield file.wrong(problem, f"{path}.products" if role.products else path)


def _revoked_problems(file: Handwritten, trust: TrustFile) -> Iterator[MalformedError]:
    revoked = trust.revoked
    groups = (("keys", revoked.keys), ("releases", revoked.releases), ("handlers", revoked.handlers))
    for group, names in groups:
        if len(set(names)) != len(names):
            yield file.wrong("an entry is given twice", f"$.revoked.{group}")
    for key in revoked.keys:
        if key not in trust.keys:
            yield file.wrong(f"{key!r} is not under `keys`", "$.revoked.keys")


def _leave_problems(file: Handwritten, trust: TrustFile, index: int) -> Iterator[MalformedError]:
    leaver, where = trust.leave[index], file.at(f"$.leave[{index}]")
    if leaver.key not in trust.keys:
        yield MalformedError(f"{leaver.key!r} is not under `keys`", where=where)
    if leaver.key in [earlier.key for earlier in trust.leave[:index]]:
        yield MalformedError(f"{leaver.key!r} is given twice", where=where)
    if any(leaver.key in role.keys for role in trust.roles.values()):
        yield MalformedError(f"{leaver.key!r} leaves and still has a role", where=where)
    if leaver.how == "revoked" and leaver.last is not None:
        yield MalformedError(
            "a revoked key has no `last`", where=where, remedy="leave out `last`, or write how: retired"
        )
