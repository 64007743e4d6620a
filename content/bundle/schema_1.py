"""Name images of schema version 1, which Docker made before version 1.10, and say how they are converted."""

from content.bundle.oci import read_json
from manifests.words.errors import MalformedError, RefusedError

# Image manifest version 2, schema 1 (distribution, docs/spec/manifest-v2-1.md).
SCHEMA_1 = frozenset(f"application/vnd.docker.distribution.manifest.v1+{form}" for form in ("json", "prettyjws"))
SCHEMA_1_TEXT = "is an image of schema version 1, expected schema version 2 or OCI"
SCHEMA_1_FINDING = "image-schema-1"


def is_schema_1(data: bytes) -> bool:
    """Whether a document that is no manifest of ours is one of schema version 1."""
    try:
        return read_json(data).get("schemaVersion") == 1
    except MalformedError:
        return False


def schema_1_remedy(source: str = "SOURCE") -> str:
    """The command that converts an image; ``source`` is its name for skopeo."""
    return f"convert it (skopeo copy --format oci {source} oci:PATH:NAME), and write from: oci:PATH:NAME"


def schema_1_refused(what: str, where: str, source: str = "SOURCE") -> RefusedError:
    return RefusedError(
        f"{what} {SCHEMA_1_TEXT}", where=where, remedy=schema_1_remedy(source), finding=SCHEMA_1_FINDING
    )
