"""Make the JSON Schema of a handwritten file."""

from manifests.authored.contract_yaml import ContractFile
from manifests.authored.release_yaml import ReleaseFile
from manifests.authored.site_yaml import SiteFile
from manifests.authored.trust_yaml import TrustFile
from manifests.documents.rollback import RollbackFile
from manifests.words.errors import UsageError

SHAPES = ("release", "trust", "site", "policy", "contract", "rollback", "authorisation")


def shape_schema(kind: str) -> dict[str, object]:
    """The JSON Schema of a file that people write.

    Raises:
        UsageError: There is no such kind.
    """
    import msgspec

    if kind not in SHAPES:
        raise UsageError(f"there is no kind {kind!r}", where="--schema", remedy=f"one of {', '.join(SHAPES)}")
    if kind == "policy":
        from manifests.authored.policy_yaml import PolicyFile

        shape: type = PolicyFile
    elif kind == "authorisation":
        from manifests.authored.authorisation_yaml import AuthorisationFile

        shape = AuthorisationFile
    else:
        shape = {
            "release": ReleaseFile,
            "trust": TrustFile,
            "site": SiteFile,
            "contract": ContractFile,
            "rollback": RollbackFile,
        }[kind]
    schema = msgspec.json.schema(shape, schema_hook=_anything)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_for_ecma(schema)}


def _anything(type_: type) -> dict[str, object]:
    """The product's own configuration is whatever its release says."""
    if type_ is not object:
        raise NotImplementedError(type_)
    return {"description": "Whatever the release's own schema allows."}


def _for_ecma(schema: dict[str, object]) -> dict[str, object]:
    """The same schema with patterns as ECMA-262 spells them: it has neither ``\\A`` nor ``\\Z``."""

    def change(value: object) -> object:
        if isinstance(value, dict):
            return {
                key: below.replace("\\A", "^").replace("\\Z", "$")
                if key == "pattern" and isinstance(below, str)
                else change(below)
                for key, below in value.items()
            }
        return [change(one) for one in value] if isinstance(value, list) else value

    changed = change(schema)
    assert isinstance(changed, dict)
    return changed
