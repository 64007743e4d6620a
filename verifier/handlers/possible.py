"""What a person must know about a handler before it is run: its definition, and whether it can run at this site.

Handlers of a release that waits are explained too: what it would bring, and whether this host could run it.
"""

from functools import partial

from content.differences.release import handler_facts
from manifests.authored.site_yaml import SiteFile
from manifests.documents.contract import Signal
from manifests.documents.handler_catalogue import BUILT_IN, stated_fields
from manifests.documents.handler_use import value_words
from manifests.documents.release import handler_digest
from manifests.words.errors import RefusedError
from verifier.approval.queue import waiting_releases
from verifier.change.handlers import KnownHandler, components_of, known_handler, leaving_signal, signal_of
from verifier.change.release_papers import read_contract
from verifier.handlers.program import check_program
from verifier.handlers.sandbox_lines import refusal_of_check
from verifier.site.folder import Site
from verifier.site.generations import read_running
from verifier.site.proposals import read_site_yaml
from verifier.site.releases import read_kept_head
from verifier.site.unread import attempt
from verifier.site.vendor_trust import list_in_force


def explained_handlers(site: Site, name: str) -> tuple[KnownHandler, ...]:
    """Return the handlers of this name: the one that can be asked for, then those of releases that wait, oldest first.

    One of a release that waits is left out when the site has the same definition already, or when it is called like
    one of the verifier, which is then what runs. A release whose head cannot be read any more brings none.
    """
    here = known_handler(site, name)
    known = {here.digest} if here is not None else set()
    explained = [here] if here is not None else []
    for received in () if name in BUILT_IN or site.state.offboarded else waiting_releases(site):
        head = attempt(partial(read_kept_head, site, received.release), [])
        handlers = () if head is None else head.release.handlers
        for handler in handlers:
            if head is not None and handler.name == name and handler_digest(handler) not in known:
                known.add(handler_digest(handler))
                explained.append(KnownHandler(handler, head.release, waits=received.item))
    return tuple(explained)


def _settings(site: Site, known: KnownHandler) -> SiteFile | None:
    """Return the settings that the handler runs with: of the running generation; for one that waits of ``site.yaml``.

    None when there is no generation, or the file cannot be read.
    """
    if known.waits is not None:
        proposal = attempt(lambda: read_site_yaml(site.path), [])
        return None if proposal is None else proposal.site
    installed = read_running(site)
    return None if installed is None else installed.settings


def _signal(site: Site, known: KnownHandler) -> Signal | None:
    """Return the signal with which its values leave, or would leave under the contract of the release that waits."""
    if known.waits is None or known.release is None:
        return leaving_signal(site, known)
    release, settings = known.release, _settings(site, known)
    contract = attempt(lambda: read_contract(site, release), [])
    return signal_of(contract, settings.telemetry.withhold if settings is not None else (), known)


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
    settings = _settings(site, known)
    if known.release is None or settings is None:
        return None
    return refusal_of_check(partial(check_program, known.release, settings, known.handler))


def _origin(known: KnownHandler) -> str:
    if known.release is None:
        return "this verifier"
    waits = "" if known.waits is None else f", which waits as {known.waits}: it can be run once that is installed"
    return f"release {known.release.version}{waits}"


def handler_fields(site: Site, known: KnownHandler) -> tuple[tuple[str, str], ...]:
    """Return the definition of a handler and its standing at this site, as names and words."""
    handler, revoked = known.handler, list_in_force(site)
    facts = dict(handler_facts(handler))
    facts.pop("with", None)
    # Which parts there will be is known once the release is installed.
    parts, part = components_of(site, handler)
    listed = None if known.waits is not None else parts
    parameters = [
        (f"parameter {name}", value_words(values, listed, part)) for name, values in sorted(handler.parameters.items())
    ]
    signal = _signal(site, known)
    stated = ", ".join(stated_fields(handler.name)) if known.release is None else ""
    problem = host_problem(site, known)
    is_revoked = revoked is not None and known.digest in revoked.handlers
    return (
        ("handler", handler.name),
        ("of", _origin(known)),
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
