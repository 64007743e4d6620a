"""How far each step of offboarding a site is proved; a step without evidence is unproven, never revoked."""

from dataclasses import dataclass

from manifests.documents.closure import StepName, StepStanding
from manifests.documents.report import ArtefactKind, ProbeOutcome, ReportedOffboarding

# What a site must have tried once more before its refusal proves anything; a request needs a release with a handler.
NEEDED: tuple[ArtefactKind, ...] = ("bundle", "consignment", "signature")


@dataclass(frozen=True)
class EndRequested:
    """The note that asked the site to end, as the ledger has it.

    Attributes:
        answered: The first report that echoes it or a later note, and when that came in.
    """

    number: int
    issued_at: str
    written_at: str | None
    medium: str | None
    answered: tuple[int, str] | None


@dataclass(frozen=True)
class EndReported:
    """The newest report in which the site speaks of its end."""

    seq: int
    received_at: str
    said: ReportedOffboarding


@dataclass(frozen=True)
class OffboardingStep:
    """One rung, and what a person should read beside it."""

    step: StepName
    standing: StepStanding
    text: str
    at: str | None = None
    report: int | None = None
    consignment: int | None = None


def offboarding_steps(
    requested_at: str | None, asked: EndRequested | None, told: EndReported | None, closed_at: str | None
) -> tuple[OffboardingStep, ...]:
    """The six rungs, from what is known.

    A site that ended by itself needed no note; what only a note could prove is then *not needed*.
    """
    by_itself = told is not None and asked is None
    return (
        _requested(requested_at, told),
        _issued(asked, by_itself),
        _carried(asked, by_itself),
        _acknowledged(asked, told),
        _exercised(told),
        OffboardingStep("closed", "proven", "the receipt is signed", closed_at)
        if closed_at
        else OffboardingStep("closed", "unproven", "no receipt is signed"),
    )


def _requested(at: str | None, told: EndReported | None) -> OffboardingStep:
    if at is not None:
        return OffboardingStep("requested", "proven", "by support", at)
    if told is not None:
        return OffboardingStep("requested", "proven", "by the customer", told.received_at, report=told.seq)
    return OffboardingStep("requested", "unproven", "nobody asked")


def _issued(asked: EndRequested | None, by_itself: bool) -> OffboardingStep:
    if asked is not None:
        return OffboardingStep("issued", "proven", "a note asks for it", asked.issued_at, consignment=asked.number)
    if by_itself:
        return OffboardingStep("issued", "not-needed", "the customer began it")
    return OffboardingStep("issued", "unproven", "no note was signed since: waybill fleet consign")


def _carried(asked: EndRequested | None, by_itself: bool) -> OffboardingStep:
    if by_itself:
        return OffboardingStep("carried", "not-needed", "the customer began it")
    if asked is None or asked.written_at is None:
        return OffboardingStep("carried", "unproven", "it lies on no medium that is known of")
    return OffboardingStep("carried", "proven", f"on {asked.medium}", asked.written_at, consignment=asked.number)


def _acknowledged(asked: EndRequested | None, told: EndReported | None) -> OffboardingStep:
    if told is not None:
        return OffboardingStep("acknowledged", "proven", "the site says so itself", told.received_at, report=told.seq)
    if asked is not None and asked.answered is not None:
        seq, at = asked.answered
        return OffboardingStep("acknowledged", "proven", "a report echoes its challenge", at, report=seq)
    return OffboardingStep("acknowledged", "unproven", "no report says that it arrived")


def _exercised(told: EndReported | None) -> OffboardingStep:
    if told is None or not told.said.removed:
        return OffboardingStep("exercised", "unproven", "the site has not said that the vendor's trust is gone")
    outcomes: dict[ArtefactKind, set[ProbeOutcome]] = {}
    for one in told.said.probes:
        outcomes.setdefault(one.kind, set()).add(one.outcome)
    believed = sorted(kind for kind, seen in outcomes.items() if "accepted" in seen)
    if believed:
        return OffboardingStep("exercised", "unproven", f"still accepted: {', '.join(believed)}", report=told.seq)
    good = sorted(kind for kind, seen in outcomes.items() if seen == {"refused"})
    refused = ", ".join(good)
    missing = sorted(set(NEEDED) - set(good))
    untried = sorted(set(outcomes) - set(good))
    if missing:
        text = f"not tried: {', '.join(missing)}" + (f"; refused: {refused}" if refused else "")
        return OffboardingStep("exercised", "unproven", text, report=told.seq)
    more = f"; not tried: {', '.join(untried)}" if untried else ""
    return OffboardingStep("exercised", "proven", f"refused: {refused}{more}", told.received_at, report=told.seq)
