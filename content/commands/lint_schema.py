"""Make the JSON Schema of a handwritten file."""

import msgspec

from manifests.authored.authorisation_yaml import AuthorisationFile
from manifests.authored.contract_yaml import ContractFile
from manifests.authored.policy_yaml import PolicyFile
from manifests.authored.release_yaml import ReleaseFile
from manifests.authored.rollback_yaml import RollbackFile
from manifests.authored.site_yaml import SiteFile
from manifests.authored.trust_yaml import TrustFile
from manifests.words.errors import UsageError

_SHAPES: dict[str, type] = {
    "release": ReleaseFile,
    "trust": TrustFile,
    "site": SiteFile,
    "policy": PolicyFile,
    "contract": ContractFile,
    "rollback": RollbackFile,
    "authorisation": AuthorisationFile,
}
SHAPES = tuple(_SHAPES)


def shape_schema(kind: str) -> dict[str, object]:
    """The JSON Schema of a handwritten file.

    Raises:
        UsageError: There is no such kind.
    """
    if kind not in _SHAPES:
        raise UsageError(f"there is no kind {kind!r}", where="--schema", remedy=f"name one of {', '.join(SHAPES)}")
    schema = msgspec.json.schema(_SHAPES[kind], schema_hook=_anything)
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
