"""Check a handwritten file, and the files that it names."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from content.signing.authorisations import bundle_reader
from content.sigstore.keyless import MAX_TRUSTED_ROOT, check_trusted_root
from manifests.authored.authorisation_yaml import compile_authorisation
from manifests.authored.contract_yaml import compile_contract
from manifests.authored.handwritten import Handwritten, read_handwritten
from manifests.authored.policy_yaml import compile_policy
from manifests.authored.release_yaml import ATTACHED, NONE, ReleaseFile, parse_from
from manifests.authored.release_yaml_checks import reference_problems, release_problems
from manifests.authored.rollback_yaml import compile_rollback
from manifests.authored.site_yaml import SiteFile, site_problems
from manifests.authored.trust_yaml import TrustFile, trust_problems
from manifests.documents.authorisation import AUTHORISATION_TYPE, MAX_AUTHORISATION, parse_authorisation
from manifests.foreign.attachments import (
    MAX_NOTES,
    MAX_OPENVEX,
    MAX_SCHEMA,
    check_config_schema,
    check_notes,
    check_openvex,
)
from manifests.foreign.sbom import MAX_SBOM, check_sbom
from manifests.trust.image_keys import parse_carried_pem
from manifests.trust.keys import MAX_KEY_FILE, read_capped, read_public
from manifests.words.errors import HostError, MalformedError, WaybillError


@dataclass(frozen=True)
class LintResult:
    """What was found in one file. Attributes: kind: the kind of file, by its content; problems: in its order."""

    path: Path
    kind: str
    problems: tuple[WaybillError, ...]


def lint(path: Path) -> LintResult:
    """Check one file. Its kind follows from its content, never from its name."""
    if path.suffix == ".json":
        return _lint_json(path)
    try:
        file = read_handwritten(path, decimals_under="config")
        kind = kind_of(file)
        if kind != "site":  # a decimal is a value only in its `config`
            file = read_handwritten(path)
    except (MalformedError, HostError) as error:
        return LintResult(path=path, kind="unknown", problems=(error,))
    return LintResult(path=path, kind=kind, problems=tuple(_collected(_CHECKS[kind], file, path.parent)))


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
        "the file is of no kind that Waybill knows",
        where=file.name,
        remedy=f"begin it with one of these keys: {', '.join(f'{key} ({kind})' for key, kind in _MARKS)}",
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
        return  # reported by _named_files
    try:
        contract = compile_contract(read_handwritten(folder / release.contract))
        rollback = compile_rollback(read_handwritten(folder / release.rollback))
    except (MalformedError, HostError) as error:
        yield error
    else:
        yield from reference_problems(file, release, contract, rollback)


def _named_files(file: Handwritten, release: ReleaseFile, folder: Path) -> Iterator[WaybillError]:
    """Check that every file that ``release.yaml`` names exists, and that small documents are what they should be."""

    def present(text: str, path: str) -> Iterator[WaybillError]:
        if not (folder / text).exists():
            yield MalformedError(f"there is no {text}", where=file.at(path), remedy="correct the path, or add the file")

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
            source = parse_from(image.from_)
        except MalformedError:
            continue  # reported by release_problems
        if source.kind != "registry":
            yield from present(source.place, f"$.images[{i}].from")
    for i, files in enumerate(release.files):
        yield from present(files.from_, f"$.files[{i}].from")
    for i, chart in enumerate(release.charts):
        yield from present(chart.from_, f"$.charts[{i}].from")
    for i, program in enumerate(release.programs):
        for platform, text in program.files.items():
            yield from present(text, f"$.programs[{i}].files.{platform}")


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


def _compiled(_: object) -> Iterator[WaybillError]:
    """A document that compiles has no problems; one that does not has raised its first."""
    return iter(())


# In this order: an authorisation has a key `product` too, and release.yaml a key `contract`.
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
    "policy": lambda file, folder: _compiled(compile_policy(file, lambda name: read_public(folder / name))),
    "contract": lambda file, _: _compiled(compile_contract(file)),
    "rollback": lambda file, _: _compiled(compile_rollback(file)),
    "authorisation": lambda file, folder: _compiled(compile_authorisation(file, bundle_reader(folder))),
}


def _lint_json(path: Path) -> LintResult:
    """A document that release.yaml names: schema, advisory, SBOM or authorisation."""
    check: Callable[[bytes, str], object]
    try:
        data = read_capped(path, MAX_SBOM)
    except (MalformedError, HostError) as error:
        return LintResult(path=path, kind="unknown", problems=(error,))
    if b'"https://openvex.dev/ns' in data[:65536]:
        kind, check = "advisory", check_openvex
    elif AUTHORISATION_TYPE.encode() in data:
        kind, check = "authorisation", parse_authorisation
    elif b'"bomFormat"' in data or b'"spdxVersion"' in data:
        kind, check = "sbom", check_sbom
    else:
        kind, check = "config schema", check_config_schema
    try:
        check(data, str(path))
    except MalformedError as error:
        return LintResult(path=path, kind=kind, problems=(error,))
    return LintResult(path=path, kind=kind, problems=())
