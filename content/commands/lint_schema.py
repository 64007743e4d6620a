"""The JSON Schema of each handwritten file, for `waybill lint --schema`."""

import msgspec

from manifests.authored.authorisation_yaml import AuthorisationFile
from manifests.authored.contract_yaml import ContractFile
from manifests.authored.policy_yaml import PolicyFile
from manifests.authored.registries_yaml import RegistriesFile
from manifests.authored.release_yaml import ReleaseFile
from manifests.authored.rollback_yaml import RollbackFile
from manifests.authored.site_yaml import SiteFile
from manifests.authored.trust_yaml import TrustFile
from manifests.words.errors import UsageError

SHAPES: dict[str, type[msgspec.Struct]] = {
    "release": ReleaseFile,
    "trust": TrustFile,
    "site": SiteFile,
    "policy": PolicyFile,
    "contract": ContractFile,
    "rollback": RollbackFile,
    "authorisation": AuthorisationFile,
    "registries": RegistriesFile,
}


def shape_schema(kind: str) -> dict[str, object]:
    """The JSON Schema of a handwritten file. Raises UsageError for an unknown kind."""
    if kind not in SHAPES:
        raise UsageError(f"there is no kind {kind!r}", where="--schema", remedy=f"name one of {', '.join(SHAPES)}")
    schema = msgspec.json.schema(SHAPES[kind], schema_hook=_anything)
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
