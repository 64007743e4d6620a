"""Handlers at this site: which there are, whether a use of one is allowed, and the plan that people approve for it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from manifests.documents.consignment import Request, peek_consignment
from manifests.documents.contract import Contract, Signal
from manifests.documents.handler_catalogue import BUILT_IN, COMPONENT_WORDS, RESTART, RETRY
from manifests.documents.handler_use import PART, HandlerUse, parameter_problem
from manifests.documents.plan import Plan
from manifests.documents.release import Handler, Release, handler_digest
from manifests.words.errors import RefusedError, UsageError
from verifier.change.release_papers import contract_in_force
from verifier.rules.agreement import ApprovalRequest
from verifier.site.folder import Site
from verifier.site.generations import Installed, read_running
from verifier.site.journal.events import Outcome, Planned
from verifier.site.journal.state import Answered
from verifier.site.vendor_access import check_served
from verifier.site.vendor_trust import list_in_force

# `c-12`, `c-12.2`, `h-3`.
_ITEM = re.compile(r"c-[1-9][0-9]{0,15}(\.[1-9][0-9]{0,2})?|h-[1-9][0-9]{0,15}")
NO_SUCH_HANDLER = "no-such-handler"


@dataclass(frozen=True)
class KnownHandler:
    """A handler that this site could run.

    Attributes:
        release: It has the program; None for a handler of the verifier itself.
        waits: Item of a release that is not installed yet; None when the handler can be asked for.
    """

    handler: Handler
    release: Release | None
    waits: str | None = None

    @property
    def digest(self) -> str:
        return handler_digest(self.handler)


@dataclass(frozen=True)
class Refusal:
    """Why a use of a handler is refused: a stable word, which leaves the site, and words for people here."""

    reason: str
    words: str
    remedy: str


@dataclass(frozen=True, kw_only=True)
class UseRequest(ApprovalRequest):
    """The use of a handler, and the plan that people approve for it.

    Attributes:
        requested: The use as the journal has it.
        signal: The signal with which values leave; None when nothing but the outcome does.
        why: The vendor's reason.
    """

    requested: Answered
    use: HandlerUse
    known: KnownHandler
    signal: Signal | None = None
    why: str | None = None


def is_use(item: str) -> bool:
    """Whether the item is called like the use of a handler."""
    return _ITEM.fullmatch(item) is not None


def known_handlers(site: Site) -> tuple[KnownHandler, ...]:
    """Return the handlers of the verifier, then those of the running release, each by its name.

    A handler of a release that is called like one of the verifier is left out: a policy that allows a name allows what
    this verifier does under that name.
    """
    running = read_running(site)
    own = tuple(KnownHandler(handler, None) for handler in BUILT_IN.values())
    if running is None or site.state.offboarded:
        return own
    release = running.release
    return (*own, *(KnownHandler(handler, release) for handler in release.handlers if handler.name not in BUILT_IN))


def known_handler(site: Site, name: str) -> KnownHandler | None:
    return next((known for known in known_handlers(site) if known.handler.name == name), None)


def components_of(site: Site, handler: Handler) -> tuple[frozenset[str], str]:
    """Return what a parameter of type ``component`` of the handler may name, and what that is in words.

    Of two handlers of the verifier it is what they can do something with; of any other every part of the release.
    """
    if handler.name == RETRY:
        return failed_steps(site), COMPONENT_WORDS[RETRY]
    running = read_running(site)
    if handler.name == RESTART:
        return frozenset(services(running.release) if running is not None else ()), COMPONENT_WORDS[RESTART]
    return _parts(running), PART


def services(release: Release) -> dict[str, str]:
    """Return the install step of each service, by the names that it has: that step and its file sets."""
    kept = [step for step in release.install if step.keep_running is not None]
    by_files = {name: step.step for step in reversed(kept) for name in step.files}
    return {**by_files, **{step.step: step.step for step in kept}}


def failed_steps(site: Site) -> frozenset[str]:
    """Return the steps and backups whose last attempt failed in the change that left the site inconsistent.

    Where no step failed, it is the act that did, such as `switch`; also where ``current`` names what nobody installed.
    Empty at a site that is not inconsistent.
    """
    if not site.state.installs.inconsistent:
        return frozenset()
    steps: dict[str, bool] = {}
    acts: dict[str, bool] = {}
    for entry in site.entries:
        match entry.record.event:
            case Planned():
                steps, acts = {}, {}
            case Outcome(act=act, step=None, result=result):
                acts[act] = result == "done"
            case Outcome(step=str(step), result=result):
                steps[step] = result == "done"
            case _:
                continue
    failed = [{name for name, done in results.items() if not done} for results in (steps, acts)]
    return frozenset(failed[0] or failed[1] or {"switch"})


def _parts(running: Installed | None) -> frozenset[str]:
    if running is None:
        return frozenset()
    release = running.release
    images, files = (image.name for image in release.images), (files.name for files in release.files)
    charts, programs = (chart.name for chart in release.charts), (program.name for program in release.programs)
    return frozenset((*(step.step for step in release.install), *images, *files, *charts, *programs))


def refusal_of(site: Site, name: str, parameters: Mapping[str, str]) -> Refusal | None:
    """Return why this site would refuse the use of a handler now; None if people, or everybody, may run it."""
    known = known_handler(site, name)
    if known is None:
        names = ", ".join(sorted(known.handler.name for known in known_handlers(site)))
        words = f"neither this verifier nor the running release has a handler {name}"
        return Refusal(NO_SUCH_HANDLER, words, f"the handlers here: {names}")
    if name not in site.policy.commands:
        words = f"policy {site.policy.number} does not list the handler {name}"
        return Refusal(
            "not-in-policy", words, f"to allow it, add `{name}: allowed`, or roles, under `commands:` in policy.yaml"
        )
    revoked = list_in_force(site)
    if revoked is not None and known.digest in revoked.handlers:
        words = f"the handler {name} is revoked by list {revoked.version}"
        return Refusal("revoked", words, "ask the vendor for a release with another version of it")
    problem = parameter_problem(known.handler, parameters, *components_of(site, known.handler))
    if problem is not None:
        return Refusal("wrong-parameters", problem, f"run `waybill show {name}` to see its parameters")
    return None


def window_refusal(request: Request, next_report: int) -> Refusal | None:
    """Return why the request is refused because of its window; None inside it. Pure."""
    first, last = request.first_report or 1, request.last_report
    if next_report >= first and (last is None or next_report <= last):
        return None
    until = f"to {last}" if last is not None else "on"
    words = f"request {request.request} is for reports from {first} {until}; the next report is {next_report}"
    return Refusal("outside-window", words, "ask support for a new request")


def use_request(site: Site, item: str) -> UseRequest:
    """Return a use that waits, or that began without a recorded end, with its plan. Reads only.

    Raises:
        UsageError: There is no such item.
        RefusedError: It is finished, or this site refuses it now; ``finding`` is the reason.
    """
    requested = site.state.requested(item)
    if requested is None:
        raise _unknown_item(site, item)
    if not requested.open:
        why = f" ({requested.reason.replace('-', ' ')})" if requested.reason else ""
        outcome = requested.outcome.replace("-", " ")
        remedy = "nothing is run twice; run `waybill history` to see when it ended"
        raise RefusedError(f"{item} is answered: {outcome}{why}", where=item, remedy=remedy, finding="answered")
    if requested.consignment:
        check_served(site.state)
    request = _request(site, requested)
    refusal = window_refusal(request, site.state.reports.seq + 1) if requested.outcome == "waiting" else None
    refusal = refusal or refusal_of(site, request.handler, request.parameters)
    if refusal is not None:
        raise RefusedError(refusal.words, where=item, remedy=refusal.remedy, finding=refusal.reason)
    known = known_handler(site, request.handler)
    if known is None:
        raise RuntimeError("the handler was there a moment ago")
    if requested.outcome == "unknown" and not known.handler.repeatable:
        raise RefusedError(
            f"{item} began and its end is not recorded; {known.handler.name} may not be repeated",
            where=item,
            remedy="look at what it changed; to run it again on purpose, ask for a new use of it",
            finding="run-unknown",
        )
    use = HandlerUse(
        consignment=requested.document,
        request=requested.request,
        handler=request.handler,
        definition=known.digest,
        parameters=request.parameters,
    )
    return UseRequest(
        item=item,
        plan=_plan(site, use),
        then=f"run {item}",
        proposers=(requested.account,) if requested.consignment else (),
        requested=requested,
        use=use,
        known=known,
        signal=leaving_signal(site, known),
        why=request.why,
    )


def _plan(site: Site, use: HandlerUse) -> Plan:
    state = site.state
    return Plan(
        site=state.site,
        site_key=state.site_key.keyid,
        action="run",
        last_change=state.last_change,
        policy=state.trust.policy,
        contract=state.installs.contract,
        subject=use.digest,
        handler=use.handler,
    )


def leaving_signal(site: Site, known: KnownHandler) -> Signal | None:
    """Return the signal of the contract in force that takes the values of the handler; None when none leave.

    A signal that ``site.yaml`` withholds does not leave.
    """
    contract, running = contract_in_force(site)[0], read_running(site)
    return signal_of(contract, running.settings.telemetry.withhold if running is not None else (), known)


def signal_of(contract: Contract | None, withheld: Sequence[str], known: KnownHandler) -> Signal | None:
    """Return the signal of the contract for the values of the handler. Pure.

    A handler of a release names its signal. For one of the verifier the contract has one from it.
    """
    for signal in contract.signals if contract is not None else ():
        if signal.name in withheld:
            continue
        source = signal.source.handler if signal.source is not None else None
        if source == known.handler.name and (known.release is None or known.handler.returns == signal.name):
            return signal
    return None


def _request(site: Site, requested: Answered) -> Request:
    """Return the request: of a consignment, whose file was verified when it was received; or of this site's people."""
    if requested.document is None:
        return Request(request=requested.request, handler=requested.handler, parameters=dict(requested.parameters))
    consignment = peek_consignment(site.document(requested.document), f"consignment {requested.consignment}")
    return next(request for request in consignment.requests if request.request == requested.request)


def _unknown_item(site: Site, item: str) -> UsageError:
    state, number = site.state.reports, int(re.split(r"[-.]", item)[1])
    if number <= (state.consignment if item.startswith("c-") else state.asked):
        remedy = "run `waybill history` to see how it ended, or `waybill review` to see what waits"
        return UsageError(
            f"{item} does not wait: it is finished, or there was no such request", where="ITEM", remedy=remedy
        )
    return UsageError(f"no item {item}", where="ITEM", remedy="run `waybill review` to see the queue")
