"""Judge what people write by hand, and the files that it names, before anything is packed or put in force."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from content.keyless import MAX_TRUSTED_ROOT, check_trusted_root
from manifests.authored import (
    ATTACHED,
    NONE,
    ReleaseFile,
    SiteFile,
    TrustFile,
    parse_from,
    reference_problems,
    release_problems,
    site_problems,
    trust_problems,
)
from manifests.contract import ContractFile, compile_contract
from manifests.errors import HostError, MalformedError, UsageError, WaybillError
from manifests.handwritten import Handwritten, read_handwritten
from manifests.keys import MAX_KEY_FILE, parse_carried_pem, read_capped, read_public
from manifests.rollback import RollbackFile, compile_rollback

MAX_NOTES = 1 << 20


@dataclass(frozen=True)
class Linted:
    """Attributes: kind: what the file was taken for; problems: in the order of the file, empty when it is good."""

    path: Path
    kind: str
    problems: tuple[WaybillError, ...]


def lint(path: Path) -> Linted:
    """Judge one file. What it is follows from its content, never from its name."""
    if path.suffix == ".json":
        return _lint_json(path)
    try:
        file = read_handwritten(path, decimals_under="config")
        kind = kind_of(file)
        if kind != "site":  # only there a decimal is a value
            file = read_handwritten(path)
    except (MalformedError, HostError) as error:
        return Linted(path=path, kind="unknown", problems=(error,))
    return Linted(path=path, kind=kind, problems=tuple(_collected(_CHECKS[kind], file, path.parent)))


def kind_of(file: Handwritten) -> str:
    """Which document ``file`` is, by the key that only this one has.

    Raises:
        MalformedError: None of those that are known.
    """
    keys = file.plain.keys() if isinstance(file.plain, dict) else ()
    for key, kind in _MARKS:
        if key in keys:
            return kind
    raise MalformedError(
        "not a file that Waybill knows",
        where=file.name,
        remedy=f"it is known by one of these keys: {', '.join(f'{key} ({kind})' for key, kind in _MARKS)}",
    )


def _collected(
    check: Callable[[Handwritten, Path], Iterator[WaybillError]], file: Handwritten, folder: Path
) -> Iterator[WaybillError]:
    try:
        yield from check(file, folder)
    except (MalformedError, HostError) as error:
        yield error


def _release(file: Handwritten, folder: Path) -> Iterator[WaybillError]:
    release = file.to(ReleaseFile)
    yield from release_problems(file, release)
    yield from _named_files(file, release, folder)
    if not all((folder / text).exists() for text in (release.contract, release.rollback)):
        return  # said already
    try:
        contract = compile_contract(read_handwritten(folder / release.contract))
        rollback = compile_rollback(read_handwritten(folder / release.rollback))
    except (MalformedError, HostError) as error:
        yield error
    else:
        yield from reference_problems(file, release, contract, rollback)


def _named_files(file: Handwritten, release: ReleaseFile, folder: Path) -> Iterator[WaybillError]:
    """Everything that ``release.yaml`` names is there; small documents are what they should be."""
    from manifests.authorisation import MAX_AUTHORISATION, parse_authorisation
    from manifests.config_schema import MAX_SCHEMA, check_config_schema
    from manifests.openvex import MAX_OPENVEX, check_openvex
    from manifests.sbom import MAX_SBOM, check_sbom

    def present(text: str, path: str) -> Iterator[WaybillError]:
        if not (folder / text).exists():
            yield MalformedError(f"there is no {text}", where=file.at(path))

    def document(text: str, path: str, cap: int, check: Callable[[bytes, str], object]) -> Iterator[WaybillError]:
        if not (folder / text).exists():
            yield from present(text, path)
            return
        try:
            check(read_capped(folder / text, cap), str(folder / text))
        except (MalformedError, HostError) as error:
            yield error

    yield from present(release.contract, "$.contract")
    yield from present(release.rollback, "$.rollback")
    if release.notes is not None:
        yield from document(release.notes, "$.notes", MAX_NOTES, check_notes)
    if release.config is not None:
        yield from document(release.config.schema, "$.config.schema", MAX_SCHEMA, check_config_schema)
    for i, text in enumerate(release.advisories):
        yield from document(text, f"$.advisories[{i}]", MAX_OPENVEX, check_openvex)
    for i, text in enumerate(release.authorisations):
        yield from document(text, f"$.authorisations[{i}]", MAX_AUTHORISATION, parse_authorisation)
    for name, signer in release.signers.items():
        if signer.key is not None:
            yield from document(signer.key, f"$.signers.{name}", MAX_KEY_FILE, parse_carried_pem)
    if release.sigstore is not None:
        yield from document(release.sigstore, "$.sigstore", MAX_TRUSTED_ROOT, check_trusted_root)
    for i, image in enumerate(release.images):
        if image.sbom not in (NONE, ATTACHED):
            yield from document(image.sbom, f"$.images[{i}].sbom", MAX_SBOM, check_sbom)
        try:
            found = parse_from(image.from_)
        except MalformedError:
            continue  # said already
        if found.kind != "registry":
            yield from present(found.place, f"$.images[{i}].from")
    for i, files in enumerate(release.files):
        yield from present(files.from_, f"$.files[{i}].from")
    for i, chart in enumerate(release.charts):
        yield from present(chart.from_, f"$.charts[{i}].from")
    for i, program in enumerate(release.programs):
        for platform, text in program.files.items():
            yield from present(text, f"$.programs[{i}].files.{platform}")


def check_notes(data: bytes, what: str) -> None:
    """Raise MalformedError unless ``data`` is text that a terminal can show line by line."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedError(f"not UTF-8 at byte {error.start}", where=what) from None
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        for char in line:
            if (ord(char) < 32 and char != "\t") or 127 <= ord(char) < 160:
                raise MalformedError(f"holds the control character U+{ord(char):04X}", where=f"{what}:{number}")


def _site(file: Handwritten, _: Path) -> Iterator[WaybillError]:
    yield from site_problems(file, file.to(SiteFile))


def _trust(file: Handwritten, folder: Path) -> Iterator[WaybillError]:
    trust = file.to(TrustFile)
    yield from trust_problems(file, trust)
    for name, key in trust.keys.items():
        if key.public is None:
            continue  # an identity
        if not (folder / key.public).exists():
            yield MalformedError(f"there is no {key.public}", where=file.at(f"$.keys.{name}"))
            continue
        try:
            read_public(folder / key.public)
        except (MalformedError, HostError) as error:
            yield error


def _contract(file: Handwritten, _: Path) -> Iterator[WaybillError]:
    compile_contract(file)
    yield from ()


def _rollback(file: Handwritten, _: Path) -> Iterator[WaybillError]:
    compile_rollback(file)
    yield from ()


def _policy(file: Handwritten, folder: Path) -> Iterator[WaybillError]:
    from manifests.policy import compile_policy

    compile_policy(file, lambda text: read_public(folder / text))
    yield from ()


def _authorisation(file: Handwritten, folder: Path) -> Iterator[WaybillError]:
    from content.authorise import look_beside
    from manifests.authorisation import compile_authorisation

    compile_authorisation(file, look_beside(folder))
    yield from ()


# Looked for in this order: an authorisation has a key `product` too, and release.yaml a key `contract`.
_MARKS = (
    ("authorisation", "authorisation"),
    ("product", "release"),
    ("vendor", "trust"),
    ("site", "site"),
    ("policy", "policy"),
    ("contract", "contract"),
    ("class", "rollback"),
)
_CHECKS: dict[str, Callable[[Handwritten, Path], Iterator[WaybillError]]] = {
    "release": _release,
    "trust": _trust,
    "site": _site,
    "policy": _policy,
    "contract": _contract,
    "rollback": _rollback,
    "authorisation": _authorisation,
}
SHAPES = ("release", "trust", "site", "policy", "contract", "rollback", "authorisation")


def _lint_json(path: Path) -> Linted:
    """A document that release.yaml names: schema, advisory, SBOM or authorisation."""
    from manifests.authorisation import AUTHORISATION_TYPE, parse_authorisation
    from manifests.config_schema import check_config_schema
    from manifests.openvex import check_openvex
    from manifests.sbom import MAX_SBOM, check_sbom

    try:
        data = read_capped(path, MAX_SBOM)
        if b'"https://openvex.dev/ns' in data[:65536]:
            kind, check = "advisory", check_openvex
        elif AUTHORISATION_TYPE.encode() in data:
            kind, check = "authorisation", parse_authorisation  # type: ignore[assignment]  # as below
        elif b'"bomFormat"' in data or b'"spdxVersion"' in data:
            kind, check = "sbom", check_sbom  # type: ignore[assignment]  # all of them are called alike
        else:
            kind, check = "config schema", check_config_schema  # type: ignore[assignment]  # as above
    except (MalformedError, HostError) as error:
        return Linted(path=path, kind="unknown", problems=(error,))
    try:
        check(data, str(path))
    except MalformedError as error:
        return Linted(path=path, kind=kind, problems=(error,))
    return Linted(path=path, kind=kind, problems=())


def shape_schema(kind: str) -> dict[str, object]:
    """The JSON Schema of a file that people write.

    Raises:
        UsageError: There is no such kind.
    """
    import msgspec

    if kind not in SHAPES:
        raise UsageError(f"there is no kind {kind!r}", where="--schema", remedy=f"one of {', '.join(SHAPES)}")
    if kind == "policy":
        from manifests.policy import PolicyFile

        shape: type = PolicyFile
    elif kind == "authorisation":
        from manifests.authorisation import AuthorisationFile

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
