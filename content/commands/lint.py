"""The command ``waybill lint``."""

import json
from pathlib import Path

import click

from console.options import verb
from console.result import Result
from content.commands.lint_checks import LintResult, lint
from content.commands.lint_schema import shape_schema
from manifests.words.errors import MalformedError, UsageError


@verb(
    name="lint",
    short_help="Check what people write by hand.",
    examples=("waybill lint release.yaml trust.yaml", "waybill lint --schema release"),
)
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--schema", metavar="KIND", help="Print the JSON Schema of KIND instead of checking files.")
def lint_command(files: tuple[Path, ...], schema: str | None) -> Result:
    """Check handwritten FILES, and every file that they name.

    Release, trust, site, policy, contract, rollback and authorisation files are known by their content, and so are the
    JSON files that a release names: configuration schema, advisories, SBOMs, authorisations.
    """
    if (schema is None) == (not files):
        raise UsageError("neither FILES nor --schema, or both", where="lint", remedy="name files, or --schema KIND")
    if schema is not None:
        shape = shape_schema(schema)
        return Result(json.dumps(shape, indent=2, sort_keys=True), {"schema": shape})
    return _result([lint(path) for path in files])


def _result(results: list[LintResult]) -> Result:
    """Problems first, each with its hint; then the good files."""
    lines = []
    for result in results:
        for problem in result.problems:
            lines += [str(problem), *([f"  hint: {problem.remedy}"] if problem.remedy else [])]
    lines += [f"{result.path}: good ({result.kind})" for result in results if not result.problems]
    files = []
    for result in results:
        problems = [{"where": p.where, "problem": p.problem, "hint": p.remedy} for p in result.problems]
        files.append({"path": str(result.path), "kind": result.kind, "problems": problems})
    count, bad = sum(len(result.problems) for result in results), sum(bool(result.problems) for result in results)
    error = None
    if count:
        error = MalformedError(
            f"{count} {'problem' if count == 1 else 'problems'} in {bad} of {len(results)} "
            f"{'file' if len(results) == 1 else 'files'}",
            remedy="correct these places, then run waybill lint again",
            finding="lint",
        )
    return Result("\n".join(lines), {"files": files}, error)
