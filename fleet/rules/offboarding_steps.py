"""How far each step of offboarding a site is proven; a step without evidence is unproven, never revoked."""

from dataclasses import dataclass
from datetime import datetime

from manifests.documents.closure import StepName, StepStanding
from manifests.documents.report import ArtefactKind, ProbeOutcome, ReportedOffboarding

# What a site must have tried once more before its refusal proves anything; a request needs a release with a handler.
NEEDED: tuple[ArtefactKind, ...] = ("bundle", "consignment", "signature")


@dataclass(frozen=True)
class ConsignedOffboarding:
    """The consignment that requests the site's offboarding, as the ledger has it.

    ``answered`` is the first report that echoes this or a later consignment: its number, and when it was imported.
    """

    number: int
    issued_at: datetime
    written_at: datetime | None
    medium: str | None
    answered: tuple[int, datetime] | None


@dataclass(frozen=True)
class OffboardingReport:
    """The newest report that names the site's offboarding."""

    seq: int
    received_at: datetime
    offboarding: ReportedOffboarding


@dataclass(frozen=True)
class OffboardingStep:
    """One step, with the text that a person should read beside it."""

    step: StepName
    standing: StepStanding
    text: str
    at: datetime | None = None
    report: int | None = None
    consignment: int | None = None


def offboarding_steps(
    requested_at: datetime | None,
    consigned: ConsignedOffboarding | None,
    reported: OffboardingReport | None,
    closed_at: datetime | None,
) -> tuple[OffboardingStep, ...]:
    """Return the six steps in their order; pure.

    A customer who began the offboarding needed no consignment: the steps that only one can prove are *not needed*.
    """
    closed = OffboardingStep("closed", "unproven", "no receipt is signed")
    if closed_at is not None:
        closed = OffboardingStep("closed", "proven", "the receipt is signed", closed_at)
    return (
        _requested(requested_at, reported),
        *_consigned(consigned, by_customer=reported is not None and consigned is None),
        _acknowledged(consigned, reported),
        _exercised(reported),
        closed,
    )


def _requested(at: datetime | None, reported: OffboardingReport | None) -> OffboardingStep:
    if at is not None:
        return OffboardingStep("requested", "proven", "by support", at)
    if reported is not None:
        return OffboardingStep("requested", "proven", "by the customer", reported.received_at, report=reported.seq)
    return OffboardingStep("requested", "unproven", "nobody has requested it")


def _consigned(consigned: ConsignedOffboarding | None, *, by_customer: bool) -> tuple[OffboardingStep, OffboardingStep]:
    """Whether a consignment requests it, and whether that was written to a medium."""
    if by_customer:
        text = "the customer began it"
        return OffboardingStep("issued", "not-needed", text), OffboardingStep("carried", "not-needed", text)
    issued = OffboardingStep("issued", "unproven", "no consignment was signed since: waybill fleet consign")
    carried = OffboardingStep("carried", "unproven", "the consignment was written to no known medium")
    if consigned is not None:
        number, text = consigned.number, "a consignment requests it"
        issued = OffboardingStep("issued", "proven", text, consigned.issued_at, consignment=number)
        if consigned.written_at is not None:
            text = f"on {consigned.medium}"
            carried = OffboardingStep("carried", "proven", text, consigned.written_at, consignment=number)
    return issued, carried


def _acknowledged(consigned: ConsignedOffboarding | None, reported: OffboardingReport | None) -> OffboardingStep:
    if reported is not None:
        text = "the site reports its offboarding"
        return OffboardingStep("acknowledged", "proven", text, reported.received_at, report=reported.seq)
    if consigned is not None and consigned.answered is not None:
        seq, at = consigned.answered
        return OffboardingStep("acknowledged", "proven", "a report echoes its challenge", at, report=seq)
    return OffboardingStep("acknowledged", "unproven", "no report shows that it arrived")


def _exercised(reported: OffboardingReport | None) -> OffboardingStep:
    """The site must have tried every kind in ``NEEDED``, and each try must have been refused."""
    if reported is None or not reported.offboarding.removed:
        return OffboardingStep("exercised", "unproven", "the site has not reported that the vendor's trust was removed")
    outcomes: dict[ArtefactKind, set[ProbeOutcome]] = {}
    for probe in reported.offboarding.probes:
        outcomes.setdefault(probe.kind, set()).add(probe.outcome)
    accepted = sorted(kind for kind, seen in outcomes.items() if "accepted" in seen)
    if accepted:
        text = f"still accepted: {', '.join(accepted)}"
        return OffboardingStep("exercised", "unproven", text, report=reported.seq)
    refused = sorted(kind for kind, seen in outcomes.items() if seen == {"refused"})
    missing = sorted(set(NEEDED) - set(refused))
    if missing:
        text = f"not tried: {', '.join(missing)}" + (f"; refused: {', '.join(refused)}" if refused else "")
        return OffboardingStep("exercised", "unproven", text, report=reported.seq)
    untried = sorted(set(outcomes) - set(refused))
    text = f"refused: {', '.join(refused)}" + (f"; not tried: {', '.join(untried)}" if untried else "")
    return OffboardingStep("exercised", "proven", text, reported.received_at, report=reported.seq)
