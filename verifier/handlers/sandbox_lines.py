"""Which handlers of the running release this host cannot run. For `status`."""

from collections.abc import Callable
from functools import partial

from manifests.documents.handler_catalogue import BUILT_IN
from manifests.words.errors import RefusedError, WaybillError
from verifier.site.folder import Site
from verifier.site.generations import read_running
from verifier.site.unread import attempt


def sandbox_lines(site: Site) -> tuple[str, ...]:
    """Return a line for each reason why this host cannot run handlers of the running release that the policy lists.

    The sandbox is tried once, because it is the same for all of them.
    """
    failures: list[WaybillError] = []
    installed = attempt(lambda: read_running(site), failures)
    commands = attempt(lambda: site.policy.commands, failures) or {}
    if installed is None or site.state.offboarded:
        return ()
    listed = [one for one in installed.release.handlers if one.name in commands and one.name not in BUILT_IN]
    if not listed:
        return ()
    # Both loaded only for a site whose release has handlers.
    from verifier.handlers.program import find_program
    from verifier.runtime.sandbox import check_sandbox

    problems: dict[tuple[str, str], list[str]] = {}
    tried: dict[object, RefusedError | None] = {}
    for handler in listed:
        try:
            account = find_program(installed.release, installed.settings, handler)
            if account not in tried:
                tried[account] = refusal_of_check(partial(check_sandbox, account, read_only=True))
            problem = tried[account]
        except RefusedError as error:
            problem = error
        if problem is not None:
            problems.setdefault((problem.problem, problem.remedy), []).append(handler.name)
    lines = []
    for (words, remedy), names in problems.items():
        lines.append(f"handlers   {', '.join(names)} cannot run here: {words}; {remedy}")
    return tuple(lines)


def refusal_of_check(check: Callable[[], object]) -> RefusedError | None:
    try:
        check()
    except RefusedError as error:
        return error
    return None
