"""The command ``waybill lint``: check handwritten files and what they name, or print their JSON Schema."""

import json
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from console.options import command, path_option
from console.result import Result
from content.bundle.charts import collect_chart
from content.bundle.regular_files import regular_files
from content.commands.lint_images import LintFinding, image_findings
from content.commands.lint_schema import SHAPES, shape_schema
from content.commands.trust_folder import trust_beside_problems, trust_folder_problems
from content.kubernetes.chart_images import look_at_charts, missing_images, with_taken_images
from content.signing.authorisations import bundle_reader
from content.sigstore.keyless import MAX_TRUSTED_ROOT, check_trusted_root
from manifests.authored.authorisation_yaml import authorisation_problems
from manifests.authored.contract_yaml import compile_contract, contract_problems, contract_warnings
from manifests.authored.handwritten import Handwritten, read_handwritten, shape_problems
from manifests.authored.policy_yaml import policy_problems
from manifests.authored.registries_yaml import REGISTRIES_YAML, RegistriesFile, registries_problems
from manifests.authored.release_yaml import ATTACHED, NONE, ReleaseFile
from manifests.authored.release_yaml_checks import data_warnings, proof_warnings, reference_problems, release_problems
from manifests.authored.rollback_yaml import compile_rollback, rollback_problems
from manifests.authored.site_yaml import SiteFile, site_problems, without_placeholders
from manifests.authored.trust_yaml import TrustFile, trust_problems
from manifests.documents.authorisation import AUTHORISATION_TYPE, MAX_AUTHORISATION, parse_authorisation
from manifests.foreign.attachments import MAX_NOTES, MAX_OPENVEX, notes_problems, openvex_problems
from manifests.foreign.config_schema import MAX_SCHEMA, schema_problems
from manifests.foreign.sbom import MAX_SBOM, sbom_problems
from manifests.trust.image_keys import load_carried, parse_carried_pem
from manifests.trust.keys import MAX_KEY_FILE, read_capped, read_public
from manifests.trust.revocations import REVOCATIONS_TYPE, parse_revocations
from manifests.trust.root import ROOT_TYPE, parse_root
from manifests.words.errors import HostError, MalformedError, UsageError, WaybillError, missing_file
from manifests.words.text import QUOTE
from manifests.words.units import show_count

ADD_FILE = "correct the path, or add the file"


# Documents that Waybill made, by a type of ours or as a Sigstore bundle; without a kind, what one signs is in base64.
_MADE = re.compile(
    rb'"(?:payloadType|type)"\s*:\s*"application/vnd\.waybill\.([a-z-]{1,40})\.v[0-9]+\+json"|"dsseEnvelope"\s*:'
)


@dataclass(frozen=True)
class LintResult:
    """What was found in one file.

    Attributes:
        kind: The kind of file, by its content.
        problems: In the order of the file.
        warnings: Where, and what; they fail nothing. Empty while there are problems.
    """

    path: Path
    kind: str
    problems: tuple[WaybillError, ...]
    warnings: tuple[tuple[str, str], ...] = ()


@command(
    name="lint",
    examples=(
        "waybill lint release.yaml trust.yaml",
        "waybill lint --schema release",
        "waybill lint contract.yaml --try samples/",
    ),
)
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--schema", metavar="KIND", help="Print the JSON Schema of KIND instead of checking files.")
@path_option(
    "--try", "samples", metavar="SAMPLES", help="Show what a contract lets leave of SAMPLES, a file or folder."
)
def lint_command(files: tuple[Path, ...], schema: str | None, samples: Path | None) -> Result:
    """Check handwritten FILES, and every file that they name.

    Release, registries, trust, site, policy, contract, rollback and authorisation files are known by their content, and
    so are the JSON files that a release names: configuration schema, advisories, SBOMs, authorisations.
    """
    if (schema is None) == (not files):
        raise UsageError("neither FILES nor --schema, or both", where="lint", remedy="name files, or --schema KIND")
    if schema is not None:
        shape = shape_schema(schema)
        return Result(json.dumps(shape, indent=2, sort_keys=True), {"schema": shape})
    results = [lint(path) for path in files]
    if samples is None:
        return _result(results)
    if [result.kind for result in results] not in (["contract"], ["unknown"]):
        raise UsageError("needs exactly one contract", where="--try", remedy="name contract.yaml alone")
    return _tried(_result(results), files[0], samples)


def _tried(result: Result, contract: Path, samples: Path) -> Result:
    """Return the result of a contract with what would leave of the samples; unchanged where the contract is wrong."""
    if result.error is not None:
        return result
    from content.commands.lint_try import tried_data, tried_lines, try_contract  # RE2 is loaded for samples alone

    tried = try_contract(compile_contract(read_handwritten(contract)), samples)
    text = "\n".join([result.text, *tried_lines(tried)])
    return Result(text, {**result.data, **tried_data(tried)})


def _result(results: list[LintResult]) -> Result:
    """Problems first, each with its hint; then the good files."""
    lines = []
    files = []
    for result in results:
        for problem in result.problems:
            # A hint is to be copied: names of images that are digests stay whole in it.
            lines += [str(problem), *([f"{QUOTE}  hint: {problem.remedy}"] if problem.remedy else [])]
        problems = [{"where": p.where, "problem": p.problem, "hint": p.remedy} for p in result.problems]
        warnings = [{"where": where, "problem": problem} for where, problem in result.warnings]
        files.append({"path": str(result.path), "kind": result.kind, "problems": problems, "warnings": warnings})
        lines += [f"warning: {where}: {problem}" for where, problem in result.warnings]
    lines += [f"{result.path}: good ({result.kind})" for result in results if not result.problems]
    count, bad = sum(len(result.problems) for result in results), sum(bool(result.problems) for result in results)
    problem_text = f"{show_count(count, 'problem')} in {bad} of {show_count(len(results), 'file')}"
    remedy = "correct these places, then run waybill lint again"
    error = MalformedError(problem_text, remedy=remedy, finding="lint") if count else None
    return Result("\n".join(lines), {"files": files}, error)


def lint(path: Path) -> LintResult:
    """Check one file. Its kind follows from its content; registries.yaml is known by its name, as build knows it.

    Raises:
        HostError: The file does not exist.
    """
    if not path.exists():
        raise missing_file(str(path))
    if path.is_dir():
        remedy = f"name the files in it: waybill lint {shlex.quote(str(path))}/*.yaml"
        raise UsageError("a folder, expected a file", where=str(path), remedy=remedy)
    if path.suffix == ".json":
        return _lint_json(path)
    try:
        file = read_handwritten(path, decimals_under="config")
        kind = "registries" if path.name == REGISTRIES_YAML else kind_of(file)
        if kind != "site":  # a decimal is a value only in its `config`
            file = read_handwritten(path)
    except (MalformedError, HostError) as error:
        return LintResult(path=path, kind="unknown", problems=(error,))
    findings = _document_findings(kind, file, path.parent)
    problems = tuple(one for one in findings if isinstance(one, WaybillError))
    warnings = [one for one in findings if not isinstance(one, WaybillError)]
    if kind == "release" and not problems:
        warnings += _weak_signers(file.to(ReleaseFile), path.parent)
    return LintResult(path=path, kind=kind, problems=problems, warnings=() if problems else tuple(warnings))


def _document_findings(kind: str, file: Handwritten, folder: Path) -> tuple[LintFinding, ...]:
    """Return every fault in the shape of a document; if there is none, what is wrong in what it says."""
    unfilled: tuple[WaybillError, ...] = ()
    if kind == "site":
        file, placeholders = without_placeholders(file)
        unfilled = tuple(placeholder.error for placeholder in placeholders)
    findings: tuple[LintFinding, ...] = shape_problems(file, SHAPES[kind])
    return (*unfilled, *(findings or tuple(_collected(_CHECKS[kind], file, folder))))


def kind_of(file: Handwritten) -> str:
    """Which document ``file`` is, by the key that only this one has. Raises MalformedError if it is none."""
    keys = file.plain.keys() if isinstance(file.plain, dict) else ()
    for key, kind in _MARKS:
        if key in keys:
            return kind
    remedy = f"begin it with one of these keys: {', '.join(f'{key} ({kind})' for key, kind in _MARKS)}"
    raise MalformedError("the file is of no kind that Waybill knows", where=file.name, remedy=remedy)


def _collected(
    check: Callable[[Handwritten, Path], Iterator[LintFinding]], file: Handwritten, folder: Path
) -> Iterator[LintFinding]:
    try:
        yield from check(file, folder)
    except (MalformedError, HostError) as error:
        yield error


def _release(file: Handwritten, folder: Path) -> Iterator[LintFinding]:
    release = file.to(ReleaseFile)
    yield from release_problems(file, release)
    yield from _named_files(file, release, folder)
    if not all((folder / text).exists() for text in (release.contract, release.rollback)):
        return  # reported by _named_files
    wrong = [
        finding
        for kind in ("contract", "rollback")
        for finding in _named_document(kind, folder / getattr(release, kind))
    ]
    yield from wrong
    if not any(isinstance(finding, WaybillError) for finding in wrong):
        contract = compile_contract(read_handwritten(folder / release.contract))
        rollback = compile_rollback(read_handwritten(folder / release.rollback))
        yield from reference_problems(file, release, contract, rollback)
        yield from data_warnings(release, rollback)
        yield from proof_warnings(release, rollback)


def _named_document(kind: str, path: Path) -> tuple[LintFinding, ...]:
    """Return what is wrong in the contract or rollback document that ``release.yaml`` names."""
    try:
        return _document_findings(kind, read_handwritten(path), path.parent)
    except (MalformedError, HostError) as error:
        return (error,)


def _named_files(file: Handwritten, release: ReleaseFile, folder: Path) -> Iterator[LintFinding]:
    """Check that every file that ``release.yaml`` names exists, and that small documents are what they should be."""

    def present(text: str, path: str) -> tuple[WaybillError, ...]:
        if (folder / text).exists():
            return ()
        return (MalformedError(f"there is no {text}", where=file.at(path), remedy=ADD_FILE),)

    def document(text: str, path: str, cap: int, check: Callable[[bytes, str], object]) -> Iterator[WaybillError]:
        """Check a document; what ``check`` returns are more problems, where it returns problems."""
        if not (folder / text).exists():
            yield from present(text, path)
            return
        try:
            yield from _problems(check(read_capped(folder / text, cap), str(folder / text)))
        except (MalformedError, HostError) as error:
            yield error

    yield from present(release.contract, "$.contract")
    yield from present(release.rollback, "$.rollback")
    if release.notes is not None:
        yield from document(release.notes, "$.notes", MAX_NOTES, _notes)
    if release.config is not None:
        yield from document(release.config.schema, "$.config.schema", MAX_SCHEMA, schema_problems)
    for i, text in enumerate(release.advisories):
        yield from document(text, f"$.advisories[{i}]", MAX_OPENVEX, openvex_problems)
    for i, text in enumerate(release.authorisations):
        yield from document(text, f"$.authorisations[{i}]", MAX_AUTHORISATION, parse_authorisation)
    for name, signer in release.signers.items():
        if signer.key is not None:
            yield from document(signer.key, f"$.signers.{name}", MAX_KEY_FILE, parse_carried_pem)
    if release.sigstore is not None:
        yield from document(release.sigstore, "$.sigstore", MAX_TRUSTED_ROOT, check_trusted_root)
    for i, image in enumerate(release.images):
        if image.sbom not in (NONE, ATTACHED):
            yield from document(image.sbom, f"$.images[{i}].sbom", MAX_SBOM, _sbom)
    registries = folder / REGISTRIES_YAML
    yield from lint(registries).problems if registries.exists() else ()
    yield from trust_beside_problems(folder)
    yield from image_findings(file, release, folder, short_names=_short_names(registries))
    places = {f"$.files[{i}].from": files.from_ for i, files in enumerate(release.files)}
    for i, program in enumerate(release.programs):
        places |= {f"$.programs[{i}].files.{platform}": text for platform, text in program.files.items()}
    for path, text in places.items():
        yield from present(text, path) or _irregular(folder / text, file.at(path))
    missing = [
        problem
        for i, chart in enumerate(release.charts)
        for problem in (
            *present(chart.from_, f"$.charts[{i}].from"),
            *(problem for name in chart.values for problem in present(name, f"$.charts[{i}].values")),
        )
    ]
    yield from missing or _charts(file, release, folder)


def _irregular(path: Path, where: str) -> tuple[WaybillError, ...]:
    """Return why `build` would refuse a file, or a file below a folder: by its kind and mode; none is opened."""
    try:
        for _ in regular_files(path):
            pass
    except WaybillError as error:
        return (error.with_(where=f"{where}: {error.where}"),)
    return ()


def _charts(file: Handwritten, release: ReleaseFile, folder: Path) -> Iterator[LintFinding]:
    """Yield why `build` would refuse a chart, or an image that one names; each is packed and rendered as there."""
    unusable = []
    for i, chart in enumerate(release.charts):
        try:
            collect_chart(folder / chart.from_)
        except WaybillError as error:
            unusable.append(error.with_(where=f"{file.at(f'$.charts[{i}].from')}: {error.where}"))
    yield from unusable
    if unusable:
        return
    look = look_at_charts(file, release, folder)
    yield from look.problems
    try:
        release = with_taken_images(release, look.charts)
    except MalformedError as error:
        yield error.with_(where=file.at("$.charts"))
        return
    yield from missing_images(file, release, look.charts, folder)
    for seen in look.charts:
        yield from ((file.at(f"$.charts[{seen.index}]"), text) for _, text in seen.doubts)


def _problems(checked: object) -> tuple[WaybillError, ...]:
    """Return the problems in what a check returned; none in a document that it read."""
    several = checked if isinstance(checked, list | tuple) else ()
    return tuple(problem for problem in several if isinstance(problem, WaybillError))


def _notes(data: bytes, name: str) -> object:
    return list(notes_problems(data, name))


def _sbom(data: bytes, name: str) -> object:
    return sbom_problems(data, Path(name))


def _short_names(registries: Path) -> bool:
    """Whether names without a registry are allowed: unless registries.yaml refuses them."""
    try:
        return read_handwritten(registries).to(RegistriesFile).short_names
    except (MalformedError, HostError):
        return True  # a fault of the file is reported by itself


def _registries(file: Handwritten, folder: Path) -> Iterator[MalformedError]:
    given = file.to(RegistriesFile)
    yield from registries_problems(file, given)
    for name, registry in given.registries.items():
        for key in ("ca", "auth_file"):
            named = getattr(registry, key)
            if named is not None and not (folder / named).exists():
                yield file.wrong(f"there is no {named}", f"$.registries.{name}.{key}", ADD_FILE)


def _weak_signers(release: ReleaseFile, folder: Path) -> Iterator[tuple[str, str]]:
    for signer in release.signers.values():
        if signer.key is not None:
            path = folder / signer.key
            record = parse_carried_pem(read_capped(path, MAX_KEY_FILE), str(path))
            weakness = load_carried(record, str(path)).weakness
            if weakness:
                yield str(path), f"{weakness} (weak)"


def _contract(file: Handwritten) -> Iterator[LintFinding]:
    problems = contract_problems(file)
    yield from problems
    if not problems:
        yield from contract_warnings(file)


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
    yield from trust_folder_problems(folder)


# In this order: an authorisation has a key `product` too, and release.yaml a key `contract`.
_MARKS = (
    ("authorisation", "authorisation"),
    ("product", "release"),
    ("vendor", "trust"),
    ("site", "site"),
    ("policy", "policy"),
    ("contract", "contract"),
    ("class", "rollback"),
    ("registries", "registries"),
)
_CHECKS: dict[str, Callable[[Handwritten, Path], Iterator[LintFinding]]] = {
    "release": _release,
    "trust": _trust,
    "site": lambda file, _: site_problems(file, file.to(SiteFile)),
    "policy": lambda file, folder: iter(policy_problems(file, lambda name: read_public(folder / name))),
    "contract": lambda file, _: _contract(file),
    "rollback": lambda file, _: iter(rollback_problems(file)),
    "registries": _registries,
    "authorisation": lambda file, folder: iter(authorisation_problems(file, bundle_reader(folder))),
}


def _lint_json(path: Path) -> LintResult:
    """A document that release.yaml names, or one that Waybill made: a root document or revocation list is read."""
    check: Callable[[bytes, str], object]
    kind = "unknown"
    try:
        data = read_capped(path, MAX_SBOM)
        if b'"https://openvex.dev/ns' in data[:65536]:
            kind, check = "advisory", openvex_problems
        elif AUTHORISATION_TYPE.encode() in data:
            kind, check = "authorisation", parse_authorisation
        elif made := _MADE.search(data):
            kind = (made[1] or b"signed document").decode().replace("-", " ")
            kind, check = {"root": "trust root", "revocations": "revocation list"}.get(kind, kind), _made
        elif b'"bomFormat"' in data or b'"spdxVersion"' in data or (b'"@context"' in data and b"spdx" in data):
            kind, check = "sbom", _sbom
        else:
            kind, check = "config schema", schema_problems
        return LintResult(path=path, kind=kind, problems=_problems(check(data, str(path))))
    except (MalformedError, HostError) as error:
        return LintResult(path=path, kind=kind, problems=(error,))


def _made(data: bytes, name: str) -> object:
    """Read a root document or revocation list as `build` does, without judging signatures; refuse the other kinds."""
    if ROOT_TYPE.encode() in data:
        return parse_root(data, name)
    if REVOCATIONS_TYPE.encode() in data:
        return parse_revocations(data, name)
    remedy = f"waybill show {shlex.quote(name)} explains it, or the command that takes it in"
    raise MalformedError("this document was made by Waybill; lint checks what people write", where=name, remedy=remedy)
