"""waybill show HANDLER"""

from pathlib import Path

import msgspec

from console.result import Result
from manifests.words.digest import NAME
from manifests.words.errors import HostError, UsageError
from verifier.change.handlers import known_handlers
from verifier.commands.site_options import open_here
from verifier.handlers.possible import handler_fields, host_problem


def show_handler(file: Path, place: Path | None) -> Result | None:
    """Explain the handler that is called like ``file``, at a site; None where there is a file, or no site.

    Raises HostError for a name that is neither a file nor a handler.
    """
    name = str(file)
    if file.exists() or not NAME.fullmatch(name):
        return None
    try:
        site = open_here(place)
    except UsageError:
        return None
    handlers = {known.handler.name: known for known in known_handlers(site)}
    if name not in handlers:
        names = ", ".join(sorted(handlers))
        waiting = "`waybill review ITEM` shows those of a release that waits"
        remedy = f"name a file, or a handler of this site: {names}; {waiting}"
        raise HostError("no such file or folder, and no such handler", where=name, remedy=remedy)
    known = handlers[name]
    fields = handler_fields(site, known)
    width = max(len(field) for field, _ in fields)
    policy, problem_here = site.policy.commands, host_problem(site, known)
    data: dict[str, object] = {
        "handler": name,
        "digest": known.digest,
        "definition": msgspec.to_builtins(known.handler),
        "release": known.release.version if known.release else None,
        "listed": name in policy,
        "needs": policy.get(name),
        "possible": problem_here is None,
        "problem": problem_here.problem if problem_here else None,
    }
    return Result("\n".join(f"{field.ljust(width)}  {words}" for field, words in fields), data)
