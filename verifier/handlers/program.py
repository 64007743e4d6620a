"""Handlers of a release: one program of it, run in the sandbox, with fixed words and typed parameters.

What the program prints is one JSON object whose fields are those of the contract's signal. Anything else stays at the
site, as a digest in the journal. What it writes to stderr is shown to people at the site and is not kept.
"""

import os
from collections.abc import Mapping

from manifests.authored.site_yaml import SiteFile
from manifests.documents.contract import Signal
from manifests.documents.handler_use import arguments
from manifests.documents.release import Handler, Release
from manifests.documents.telemetry import Value
from manifests.words.canonical import decode
from manifests.words.errors import MalformedError
from verifier.change.handlers import UseRequest
from verifier.handlers.output import HandlerContext, HandlerOutput
from verifier.handlers.values import unfit_value
from verifier.runtime.program_files import (
    ProgramAccount,
    ProgramLimits,
    ProgramResult,
    TailBuffer,
    choose_file,
    find_account,
    place_program,
    program_of,
    this_platform,
)

# A handler has no file to write but what it keeps in its own folder, which is removed.
MAX_FILE = 16 << 20
# What is kept of the output in memory, and the longest object that a handler can state.
MAX_STATED = 64 << 10


def check_program(release: Release, settings: SiteFile, handler: Handler) -> ProgramAccount:
    """Check that this host can run the handler; run nothing. Return the account that it runs as.

    Raises:
        RefusedError: ``site.yaml`` names no account, the program is not for this host, or this host lacks a part of
            the sandbox; the finding says which.
    """
    from verifier.runtime.sandbox import check_sandbox  # loaded only where a program is run

    account = find_program(release, settings, handler)
    check_sandbox(account, read_only=True)
    return account


def find_program(release: Release, settings: SiteFile, handler: Handler) -> ProgramAccount:
    """Return the account that the handler's program runs as, if there is one and the program is for this host."""
    program = settings.drivers.program
    account = find_account(None if program is None else program.user, ours=os.geteuid())
    choose_file(program_of(release, handler.run), this_platform())
    return account


def run_program_handler(context: HandlerContext, asked: UseRequest) -> HandlerOutput:
    """Run the program of a handler of the running release to its end, or end it at its limits."""
    from verifier.runtime.sandbox import ProgramRun, run_program  # loaded only where a program is run

    site, handler, installed = context.site, asked.known.handler, context.running()
    account = check_program(installed.release, installed.settings, handler)
    program = program_of(installed.release, handler.run)
    folder = site.generation_folder(installed.number)
    placed = place_program(site.disk, site.blobs, folder, program, this_platform())
    limits = ProgramLimits(
        seconds=handler.limits.seconds,
        memory_bytes=handler.limits.memory_bytes,
        output_bytes=handler.limits.output_bytes,
        file_bytes=MAX_FILE,
    )
    argv = arguments(handler, asked.use.parameters)
    environment = _environment(installed.number, installed.release)
    run = ProgramRun(
        placed,
        argv,
        account,
        limits,
        sink=TailBuffer(MAX_STATED),
        environment=environment,
        config=installed.config,
        read_only=True,
    )
    result = run_program(run)
    return output_of(result, handler, asked.signal)


def _environment(generation: int, release: Release) -> Mapping[str, str]:
    return {"WAYBILL_GENERATION": str(generation), "WAYBILL_VERSION": release.version}


def output_of(result: ProgramResult, handler: Handler, signal: Signal | None) -> HandlerOutput:
    """Return what the program stated, or why that does not count. Pure.

    A handler that returns no signal may print what it likes: nothing of it leaves.
    """
    withheld = result.digest if result.size else None
    printed = (f"stderr: {result.errors}",) if result.errors else ()
    code = result.code if 0 <= result.code <= 255 else None
    if result.outcome != "done":
        timed_out = result.outcome == "timed-out"
        reason = {"failed": "exit-code", "killed": "killed"}.get(result.outcome, result.outcome)
        return HandlerOutput(
            printed=printed,
            reason=None if timed_out else reason,
            exit_code=code,
            timed_out=timed_out,
            withheld=withheld,
        )
    if handler.returns is None or signal is None:
        return HandlerOutput(printed=printed, exit_code=code, withheld=withheld)
    try:
        if result.size > MAX_STATED:
            raise MalformedError(f"it has {result.size} bytes, at most {MAX_STATED} are read")
        values = decode(result.output, dict[str, Value], "output")
    except MalformedError as error:
        problem = f"the output is not one JSON object of numbers, words and truth values: {error.problem}"
        return HandlerOutput(
            lines=(problem,), printed=printed, reason="output-misfit", exit_code=code, withheld=withheld
        )
    unfit = unfit_value(signal, values)
    if unfit is not None:
        return HandlerOutput(lines=(unfit,), printed=printed, reason="output-misfit", exit_code=code, withheld=withheld)
    return HandlerOutput(values=values, printed=printed, exit_code=code)
