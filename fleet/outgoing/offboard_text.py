"""The state of an offboarding as text and as JSON values."""

import msgspec

from fleet.outgoing.offboard import OffboardingState
from manifests.words.errors import AttentionError
from manifests.words.text import table
from manifests.words.time import optional_time, rfc3339
from manifests.words.units import show_count

SHOWN_UNANSWERED = 12


def unproven_attention(state: OffboardingState) -> AttentionError | None:
    missing = [step.step for step in state.steps if step.standing == "unproven"]
    if not missing:
        return None
    return AttentionError(
        f"the site is closed, and not proven: {', '.join(missing)}",
        remedy="ask the customer for the site's final report, and import it",
        finding="offboarding-unproven",
    )


def offboarding_text(state: OffboardingState) -> str:
    """The steps, what is kept, and until when."""
    lines = [f"offboarding of {state.site} ({state.reason}): {'closed' if state.closed_at else 'in progress'}"]
    rows: list[tuple[str, ...]] = []
    for step in state.steps:
        source = f", report {step.report}" if step.report else ""
        if step.consignment and not source:
            source = f", consignment {step.consignment}"
        at = f", {rfc3339(step.at)}" if step.at else ""
        rows.append((f"  {step.step}", step.standing, step.text + source + at))
    lines.append(table(rows))
    lines.append("kept in the ledger:")
    lines.append(
        table(
            [
                (f"  {kept.count}", kept.what + (f", until {kept.until}" if kept.until else ""))
                for kept in state.kept
                if kept.count
            ]
        )
    )
    if state.unanswered:
        last = ", ".join(map(str, state.unanswered[-SHOWN_UNANSWERED:]))
        lines.append(f"{show_count(len(state.unanswered), 'consignment')} not answered by any report: {last}")
    if state.purged_at:
        lines.append(f"reports deleted: {rfc3339(state.purged_at)}")
    elif state.keep_until is None:
        lines.append("keep time of reports unknown: import a bundle whose release has the site's contract")
    return "\n".join(lines)


def offboarding_data(state: OffboardingState) -> dict[str, object]:
    """The same for programs."""
    return {
        "site": state.site,
        "reason": state.reason,
        "requested_at": optional_time(state.requested_at),
        "requested_by": state.requested_by,
        "closed_at": optional_time(state.closed_at),
        "steps": msgspec.to_builtins(state.steps),
        "kept": msgspec.to_builtins(state.kept),
        "keep_until": optional_time(state.keep_until),
        "contract": state.contract,
        "unanswered": list(state.unanswered),
        "purged_at": optional_time(state.purged_at),
    }
