"""waybill show HANDLER"""

from pathlib import Path

import msgspec

from console.result import Result
from manifests.words.digest import NAME
from manifests.words.errors import HostError, UsageError
from verifier.change.handlers import KnownHandler, known_handlers
from verifier.commands.site_options import open_here
from verifier.handlers.possible import explained_handlers, handler_fields, host_problem
from verifier.site.folder import Site


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
    explained = explained_handlers(site, name)
    if not explained:
        names = ", ".join(sorted(known.handler.name for known in known_handlers(site)))
        waiting = "`waybill review ITEM` lists those of a release that waits"
        remedy = f"name a file, or a handler of this site: {names}; {waiting}"
        raise HostError("no such file or folder, and no such handler", where=name, remedy=remedy)
    text = "\n\n".join(_text(site, known) for known in explained)
    data = _data(site, explained[0])
    # Another definition under the same name, of a release that waits.
    data["others"] = [_data(site, known) for known in explained[1:]]
    return Result(text, data)


def _text(site: Site, known: KnownHandler) -> str:
    fields = handler_fields(site, known)
    width = max(len(field) for field, _ in fields)
    return "\n".join(f"{field.ljust(width)}  {words}" for field, words in fields)


def _data(site: Site, known: KnownHandler) -> dict[str, object]:
    name, policy, problem_here = known.handler.name, site.policy.commands, host_problem(site, known)
    return {
        "handler": name,
        "digest": known.digest,
        "definition": msgspec.to_builtins(known.handler),
        "release": known.release.version if known.release else None,
        "waits": known.waits,
        "listed": name in policy,
        "needs": policy.get(name),
        "possible": problem_here is None,
        "problem": problem_here.problem if problem_here else None,
    }
