"""Run a handler at a held site: judge it, count the approvals, and record the begin before it and the end after it.

The begin is synced before the handler begins. So a handler that a crash cut off is known to have begun: its outcome is
`unknown`, and it is not run again unless its definition says that it may be repeated.
"""

from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import cast

from manifests.documents.contract import Signal
from manifests.documents.handler_catalogue import RETRY
from manifests.documents.telemetry import Value
from manifests.trust.private_keys import Signer
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from manifests.words.errors import AttentionError, HostError, RefusedError, WaybillError
from verifier.approval.verdicts import approval_status, record_verdict, sign_verdict
from verifier.change.handlers import NO_SUCH_HANDLER, UseRequest, refusal_of, use_request
from verifier.change.transaction import check_idle
from verifier.handlers.limits import NO_MEMORY, TimeUpError, bounded_output, limited
from verifier.handlers.output import HandlerContext, HandlerOutput, Perform
from verifier.handlers.program import check_program, run_program_handler
from verifier.handlers.values import leaving_rows, write_result
from verifier.install.context import Runtime
from verifier.install.result import WriteReport
from verifier.rules.agreement import ApprovalStatus, require_approvals
from verifier.site.folder import Site
from verifier.site.journal.chain import one_line
from verifier.site.journal.events import HandlerAsked, HandlerBegan, HandlerEnded, RequestRefused

# Reasons for which a request that waits is answered for good.
_FINAL = (NO_SUCH_HANDLER, "not-in-policy", "revoked", "wrong-parameters", "outside-window")


@dataclass(frozen=True)
class RunResult:
    """How the use of a handler ended.

    Attributes:
        values: What it stated; ``leaves`` is the name of the signal with which they leave, None if they do not.
        rows: What it stated of each of several things.
        leaving: Names of those values that leave: what the signal does not list stays at the site.
        lines: For people at the site.
        report: The report that says so; None when none was written.
        error: Why it did not succeed.
    """

    item: str
    handler: str
    outcome: str
    reason: str | None
    values: dict[str, Value]
    leaves: str | None
    leaving: tuple[str, ...]
    lines: tuple[str, ...]
    seconds: int
    rows: tuple[dict[str, Value], ...] = ()
    report: Path | None = None
    error: WaybillError | None = None


def ask_for(site: Site, name: str, parameters: dict[str, str]) -> str:
    """Record that a person here asks for the use of a handler, at a held site; return the item.

    The same use that waits already is not asked for twice.

    Raises RefusedError when the policy does not list it, it is revoked, or a parameter is not of its type.
    """
    refusal = refusal_of(site, name, parameters)
    if refusal is not None:
        raise RefusedError(refusal.words, where=name, remedy=refusal.remedy, finding=refusal.reason)
    same = (name, tuple(sorted(parameters.items())), "waiting")
    for use in site.state.reports.local:
        if (use.handler, use.parameters, use.outcome) == same:
            return use.item
    number = site.state.reports.asked + 1
    site.record(HandlerAsked(number=number, handler=name, parameters=parameters))
    return f"h-{number}"


def run_use(
    site: Site, item: str, runtime: Runtime, write_report: WriteReport, signers: tuple[Signer, ...] = ()
) -> RunResult:
    """Run a use of a handler that waits, at a held site.

    Steps: 1 it is still allowed; 2 people have approved it; 3 no change is unfinished, and this host can run it;
    4 record the begin; 5 run it; 6 write the values that may leave; 7 record the end; 8 write a report.

    Raises:
        UsageError, RefusedError: It does not wait, or this site refuses it. A request is then answered as refused.
        WaitingError: Approvals are needed; those of ``signers`` are recorded.
    """
    asked = _judge(site, item)  # 1
    for line in _weighing_lines(asked) if signers else ():
        runtime.notify(line)
    for signer in signers:
        record_verdict(site, item, asked.plan, sign_verdict(site.policy, asked.plan, signer))
    status = approval_status(site, asked)
    require_approvals(status, item)  # 2
    context = HandlerContext(site, runtime, write_report, asked.use.parameters)
    _check_possible(context, asked)  # 3
    start = site.host.stamp()
    began = _begin(site, asked, status)  # 4
    begun = site.host.monotonic()
    output, error = _perform(context, asked)  # 5
    seconds = max(0, int(site.host.monotonic() - begun))
    result, output = _write_values(site, began, start, asked.signal, output)  # 6
    stated = {"rows": [dict(row) for row in output.rows], **output.values} if output.rows else dict(output.values)
    withheld = digest_of(encode(stated)) if result is None and stated else output.withheld
    ended = HandlerEnded(
        item=item,
        outcome="timed-out" if output.timed_out else "ran" if output.reason is None else "failed",
        reason=output.reason,
        exit_code=output.exit_code,
        seconds=seconds,
        signal=asked.signal.name if asked.signal is not None and result is not None else None,
        result=digest_of(result) if result is not None else None,
        withheld=withheld,
        detail=one_line("; ".join(output.lines)),
    )
    site.record(ended)  # 7
    report, unwritten = None, None
    if asked.requested.consignment or result is not None or asked.known.handler.risk != "read-only":
        report, unwritten = _report(site, write_report)  # 8
    return RunResult(
        item=item,
        handler=asked.use.handler,
        outcome=ended.outcome,
        reason=ended.reason,
        values=dict(output.values),
        rows=tuple(dict(row) for row in output.rows),
        leaves=ended.signal,
        leaving=tuple(sorted(asked.signal.fields)) if asked.signal is not None and ended.signal else (),
        lines=(*output.lines, *output.printed),
        seconds=seconds,
        report=report,
        error=error or _failure(asked, ended) or unwritten,
    )


def _weighing_lines(asked: UseRequest) -> tuple[str, ...]:
    """Return what a person must know before the key signs, as the review says it."""
    handler = asked.known.handler
    leaves = "nothing but the outcome" if asked.signal is None else f"signal {asked.signal.name}"
    return (
        f"run {asked.use.words}, which {handler.does}",
        f"risk {handler.risk}; may {', '.join(handler.may) or 'nothing'}; leaves: {leaves}",
        f"definition {asked.use.definition}, plan {asked.plan.digest}",
    )


def _begin(site: Site, asked: UseRequest, status: ApprovalStatus) -> int:
    """Record that the handler begins, durably; return the number of the entry."""
    site.keep_document(encode(asked.use))
    site.keep_document(encode(asked.plan))
    event = HandlerBegan(
        item=asked.item,
        handler=asked.use.handler,
        definition=asked.use.definition,
        use=asked.use.digest,
        plan=asked.plan.digest,
        approvals=tuple(site.keep_document(approval.raw) for approval in status.approvals),
    )
    return site.record(event).record.seq


def _write_values(
    site: Site, began: int, start: str, signal: Signal | None, output: HandlerOutput
) -> tuple[bytes | None, HandlerOutput]:
    """Write the values that may leave; return the file, None if none do, and the output, with a line if that failed."""
    rows = leaving_rows(signal, output)
    if signal is None or not rows:
        return None, output
    try:
        return write_result(site, began, signal, rows, start), output
    except OSError as failure:
        # The handler has run, and that must be recorded: only its values are lost.
        words = f"the values could not be written: {(failure.strerror or str(failure)).lower()}"
        return None, replace(output, lines=(words, *output.lines))


def _report(site: Site, write_report: WriteReport) -> tuple[Path | None, WaybillError | None]:
    """Write a report, or return why that was not possible; after the vendor's access has ended, write none."""
    if site.state.offboarded:
        return None, None
    try:
        return write_report(site, "handler"), None
    except (WaybillError, OSError) as failure:
        return None, AttentionError(
            f"the handler has ended, but its report could not be written: {failure}",
            where="outbox",
            remedy="repair that, then run `waybill report --new`",
            finding="report-unwritten",
        )


def _judge(site: Site, item: str) -> UseRequest:
    """Return the use with its plan. What this site refuses now is answered for good."""
    try:
        return use_request(site, item)
    except RefusedError as error:
        requested = site.state.requested(item)
        if error.finding in _FINAL and requested is not None and requested.outcome == "waiting":
            site.record(RequestRefused(item=item, reason=error.finding))
        raise


def _check_possible(context: HandlerContext, asked: UseRequest) -> None:
    """Raise unless no change is unfinished, as far as the handler changes anything, and its program can run here."""
    handler = asked.known.handler
    # RETRY is there for a site where a change is unfinished.
    if handler.risk != "read-only" and handler.name != RETRY:
        check_idle(context.site)
    if asked.known.release is not None:
        installed = context.running()
        check_program(installed.release, installed.settings, handler)


def _perform(context: HandlerContext, asked: UseRequest) -> tuple[HandlerOutput, WaybillError | None]:
    """Run the handler; a failure is an output too, with the error that says more."""
    handler = asked.known.handler
    try:
        if asked.known.release is not None:
            return run_program_handler(context, asked), None
        perform = cast(Perform, import_module(f"verifier.handlers.{handler.name.replace('-', '_')}").perform)
        with limited(handler):
            output = perform(context)
        return bounded_output(handler, output), None
    except TimeUpError:
        return HandlerOutput(timed_out=True), None
    except MemoryError:
        return HandlerOutput(reason=NO_MEMORY), None
    except WaybillError as error:
        return HandlerOutput(reason=error.finding[:64], lines=(str(error),)), error
    except OSError as error:
        words = f"{error.filename or handler.name}: {(error.strerror or str(error)).lower()}"
        failure = HostError(words, where=handler.name, remedy="repair that, then ask for the handler again")
        return HandlerOutput(reason="host", lines=(words,)), failure


def _failure(asked: UseRequest, ended: HandlerEnded) -> WaybillError | None:
    """Return the error for a handler that ended without success and raised none."""
    if ended.outcome == "ran":
        return None
    name = asked.use.handler
    words = f"took longer than {asked.known.handler.limits.seconds} s" if ended.outcome == "timed-out" else "failed"
    why = f" ({ended.reason.replace('-', ' ')})" if ended.reason else ""
    code = f", exit code {ended.exit_code}" if ended.exit_code else ""
    detail = f": {ended.detail}" if ended.detail else ""
    return HostError(
        f"{name} {words}{why}{code}{detail}",
        where=ended.item,
        remedy="read `waybill history`; a request is answered by the next report",
        finding=f"handler-{ended.outcome}",
    )
