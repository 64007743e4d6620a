"""waybill run"""

from pathlib import Path

import click

from console.options import command, passphrase_option
from console.result import Result
from manifests.words.errors import UsageError
from manifests.words.text import one_line
from manifests.words.units import show_count
from verifier.change.handlers import is_use
from verifier.commands.change_options import runtime_here, signer_of, write_report_after
from verifier.commands.site_options import hold_here, site_option
from verifier.handlers.run import RunResult, ask_for, run_use

MAX_LINES = 20


@command(
    examples=(
        "waybill run c-12",
        "waybill run health-snapshot",
        "waybill run restart-component component=service --key ops-1.key",
    )
)
@click.argument("name", metavar="ITEM|HANDLER")
@click.argument("parameters", metavar="[NAME=VALUE]...", nargs=-1)
@click.option("--key", "keys", metavar="URI", multiple=True, help="Your key, to approve it at once. Repeatable.")
@passphrase_option
@site_option
def run_command(
    name: str, parameters: tuple[str, ...], keys: tuple[str, ...], passphrase_fd: int | None, place: Path | None
) -> Result:
    """Run a handler: a named command with typed parameters. There is no shell.

    ITEM is a request of support that waits in the queue. HANDLER is a handler of this verifier or of the running
    release; the policy must list it. One that needs approvals becomes an item of the queue.
    """
    given = parse_parameters(parameters)
    if is_use(name) and given:
        remedy = f"run waybill run {name}; an item has the parameters that people approved"
        raise UsageError("an item takes no parameters", where="NAME=VALUE", remedy=remedy)
    signers = tuple(signer_of(key, passphrase_fd) for key in keys)
    with hold_here(place, "run") as site:
        item = name if is_use(name) else ask_for(site, name, given)
        result = run_use(site, item, runtime_here(), write_report_after, signers)
    return _output(result)


def parse_parameters(words: tuple[str, ...]) -> dict[str, str]:
    """Return the parameters of ``name=value …``. Raises UsageError for another form, or a name given twice."""
    parameters: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name or not value or name in parameters:
            problem = f"{word!r} is not a parameter name=value that is given once"
            raise UsageError(problem, where="NAME=VALUE", remedy="waybill show HANDLER lists its parameters")
        parameters[name] = value
    return parameters


def _output(result: RunResult) -> Result:
    why = f" ({result.reason.replace('-', ' ')})" if result.reason else ""
    seconds = show_count(result.seconds, "second")
    lines = [f"{result.item}  {result.handler}: {result.outcome.replace('-', ' ')}{why}, {seconds}"]
    width = max((len(name) for name in result.values), default=0)
    for name, value in result.values.items():
        shown = str(value).lower() if isinstance(value, bool) else str(value)
        lines.append(f"  {name.ljust(width)}  {shown}")
    more = len(result.lines) - MAX_LINES
    lines += [f"  {one_line(line)}" for line in result.lines[:MAX_LINES]]
    lines += [f"  and {more} more"] if more > 0 else []
    if result.leaves:
        which = "this report" if result.report is not None else "the next report"
        lines.append(f"signal {result.leaves} leaves with {which}: {', '.join(result.leaving)}")
    if result.report is not None:
        lines.append(f"report: {result.report}")
    data: dict[str, object] = {
        "item": result.item,
        "handler": result.handler,
        "outcome": result.outcome,
        "reason": result.reason,
        "values": result.values,
        "rows": list(result.rows),
        "signal": result.leaves,
        "leaving": list(result.leaving),
        "seconds": result.seconds,
        "report": str(result.report) if result.report else None,
    }
    return Result("\n".join(lines), data, result.error)
