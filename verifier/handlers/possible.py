"""What a person must know about a handler before it is run: its definition, and whether it can run at this site."""

from functools import partial

from content.differences.release import handler_facts
from manifests.documents.handler_catalogue import RESULTS
from manifests.documents.handler_use import value_words
from manifests.words.errors import RefusedError
from verifier.change.handlers import KnownHandler, leaving_signal
from verifier.handlers.program import check_program
from verifier.handlers.sandbox_lines import refusal_of_check
from verifier.site.folder import Site
from verifier.site.generations import read_running
from verifier.site.vendor_trust import list_in_force


def policy_words(site: Site, name: str) -> str:
    """Return in words what the policy in force says about a handler."""
    policy = site.policy
    if name not in policy.commands:
        return f"policy {policy.number} does not list it: it is refused"
    needs = policy.commands[name]
    if not needs:
        return f"policy {policy.number} allows it without approvals"
    roles = ", ".join(f"{count} {role}" for role, count in sorted(needs.items()))
    return f"policy {policy.number} asks for approvals: {roles}"


def host_problem(site: Site, known: KnownHandler) -> RefusedError | None:
    """Return why this host cannot run the handler; None if it can. Starts the sandbox and runs nothing in it."""
    installed = read_running(site)
    if known.release is None or installed is None:
        return None
    return refusal_of_check(partial(check_program, installed, known.handler))


def handler_fields(site: Site, known: KnownHandler) -> tuple[tuple[str, str], ...]:
    """Return the definition of a handler and its standing at this site, as names and words."""
    handler, revoked = known.handler, list_in_force(site)
    facts = dict(handler_facts(handler))
    facts.pop("with", None)
    parameters = [(f"parameter {name}", value_words(values)) for name, values in sorted(handler.parameters.items())]
    signal = leaving_signal(site, known)
    stated = ", ".join(RESULTS.get(handler.name, {}))
    problem = host_problem(site, known)
    is_revoked = revoked is not None and known.digest in revoked.handlers
    return (
        ("handler", handler.name),
        ("of", "this verifier" if known.release is None else f"release {known.release.version}"),
        ("digest", known.digest),
        *((name, words) for name, words in facts.items() if words),
        *parameters,
        *((("states", stated),) if stated else ()),
        (
            "leaves",
            f"signal {signal.name}: {', '.join(sorted(signal.fields))}" if signal else "nothing but the outcome",
        ),
        ("policy", policy_words(site, handler.name)),
        *((("revoked", f"by list {revoked.version}; it is refused"),) if revoked is not None and is_revoked else ()),
        ("this host", "can run it" if problem is None else f"cannot run it: {problem.problem}"),
    )
