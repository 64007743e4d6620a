"""The command ``waybill lint``."""

from pathlib import Path

import click

from console.options import verb
from console.result import Result
from manifests.words.errors import MalformedError, UsageError


@verb(name="lint")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--schema", "schema", metavar="KIND", help="Print the JSON Schema of KIND instead of judging files.")
def lint_command(files: tuple[Path, ...], schema: str | None) -> Result:
    """Judge FILES written by hand, and every file that they name.

    Release, trust, site, policy, contract, rollback and authorisation files are known by their content, and so are the
    JSON files that a release names: configuration schema, advisories, SBOMs, authorisations.
    """
    from content.commands.lint_checks import lint
    from content.commands.lint_schema import shape_schema

    if (schema is None) == (not files):
        raise UsageError("name files, or --schema KIND", where="lint")
    if schema is not None:
        import json

        found = shape_schema(schema)
        return Result(json.dumps(found, indent=2, sort_keys=True), {"schema": found}, exact=True)
    results = [lint(path) for path in files]
    problems = [problem for one in results for problem in one.problems]
    lines = [f"{problem}" + (f" ({problem.remedy})" if problem.remedy else "") for problem in problems]
    lines += [f"{one.path}: good ({one.kind})" for one in results if not one.problems]
    data = {
        "files": [
            {
                "path": str(one.path),
                "kind": one.kind,
                "problems": [{"where": p.where, "problem": p.problem, "hint": p.remedy} for p in one.problems],
            }
            for one in results
        ]
    }
    error = None
    if problems:
        bad = sum(bool(one.problems) for one in results)
        error = MalformedError(
            f"{len(problems)} {'problem' if len(problems) == 1 else 'problems'} in {bad} of {len(results)} "
            f"{'file' if len(results) == 1 else 'files'}",
            finding="lint",
        )
    return Result("\n".join(lines), data, error)
