"""The values of ``trust.yaml``, and their checks."""

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta

from manifests.authored.fields import PathText
from manifests.authored.handwritten import Handwritten
from manifests.trust.root import ROLES, Mark
from manifests.words.digest import Digest, Name, Positive, Text
from manifests.words.document import Document
from manifests.words.errors import MalformedError

# --- trust.yaml -----------------------------------------------------------------------------------------------------


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

    @property
    def is_identity(self) -> bool:
        return self.identity is not None


class TrustRoleFile(Document, frozen=True, kw_only=True):
    keys: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=64)]
    threshold: Annotated[int, Meta(ge=1, le=64)]
    products: Annotated[tuple[Name, ...], Meta(max_length=256)] = ()


class LeaveFile(Document, frozen=True, kw_only=True):
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
        revoked: Becomes the revocation list, a document of its own.
        sigstore: Paths of the ``trusted_root.json`` files that may vouch for identities.
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
    """Everything that cannot hold inside ``trust.yaml``, each with ``file:line``."""
    for name, one in trust.keys.items():
        by_identity = one.identity is not None and one.issuer is not None
        half = (one.identity is None) != (one.issuer is None) or (one.use is not None and one.public is None)
        if (one.public is not None) == by_identity or half:
            yield MalformedError(
                f"{name!r} needs either public, or identity and issuer", where=file.at(f"$.keys.{name}")
            )
        if by_identity and not trust.sigstore:
            yield MalformedError(
                f"{name!r} is an identity, and nothing says who vouches for it",
                where=file.at(f"$.keys.{name}"),
                remedy="sigstore: [PATH of a trusted_root.json]",
            )
    for name in ROLES:
        if name not in trust.roles:
            yield MalformedError(f"role {name!r} is missing", where=file.at("$.roles"))
    for name, role in trust.roles.items():
        path = f"$.roles.{name}"
        if name not in ROLES:
            yield MalformedError(f"{name!r} is not a role, expected {', '.join(ROLES)}", where=file.at(path))
        for key in role.keys:
            if key not in trust.keys:
                yield MalformedError(f"{key!r} is not under `keys`", where=file.at(f"{path}.keys"))
            elif name != "release" and trust.keys[key].is_identity:
                yield MalformedError(
                    f"{key!r} is an identity, and only the role release has those", where=file.at(f"{path}.keys")
                )
        for group, names in (("keys", role.keys), ("products", role.products)):
            if len(set(names)) != len(names):
                yield MalformedError("a name is given twice", where=file.at(f"{path}.{group}"))
        if role.threshold > len(set(role.keys)):
            yield MalformedError(
                f"threshold {role.threshold} is above the number of keys, {len(set(role.keys))}",
                where=file.at(f"{path}.threshold"),
            )
        if bool(role.products) != (name == "release"):
            yield MalformedError(
                "`products` belongs to the role release alone, which needs it",
                where=file.at(f"{path}.products" if role.products else path),
            )
    for group, names in (
        ("keys", trust.revoked.keys),
        ("releases", trust.revoked.releases),
        ("handlers", trust.revoked.handlers),
    ):
        if len(set(names)) != len(names):
            yield MalformedError("one is given twice", where=file.at(f"$.revoked.{group}"))
    for key in trust.revoked.keys:
        if key not in trust.keys:
            yield MalformedError(f"{key!r} is not under `keys`", where=file.at("$.revoked.keys"))
    leaving = [one.key for one in trust.leave]
    for i, leaver in enumerate(trust.leave):
        path = f"$.leave[{i}]"
        if leaver.key not in trust.keys:
            yield MalformedError(f"{leaver.key!r} is not under `keys`", where=file.at(path))
        if leaver.key in leaving[:i]:
            yield MalformedError(f"{leaver.key!r} is given twice", where=file.at(path))
        if any(leaver.key in role.keys for role in trust.roles.values()):
            yield MalformedError(f"{leaver.key!r} leaves and still has a role", where=file.at(path))
        if (leaver.how == "retired") != (leaver.last is not None):
            yield MalformedError(
                "a retired key needs `last`, a revoked one has none",
                where=file.at(path),
                remedy="last: {epoch: 1, sequence: 40} is the last release that it may have signed",
            )
