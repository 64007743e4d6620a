"""The state of an offboarding as text and as JSON values."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from manifests.words.errors import AttentionError

if TYPE_CHECKING:
    from fleet.outgoing.offboard import Ending


def unproven_attention(found: "Ending") -> AttentionError | None:
    missing = [one.step for one in found.steps if one.standing == "unproven"]
    if not missing:
        return None
    return AttentionError(
        f"closed, and not proved: {', '.join(missing)}",
        remedy="the receipt says so too; a final report of the site would prove it",
        finding="offboarding-unproven",
    )


def ending_text(found: "Ending") -> str:
    """The ladder, what is kept, and until when."""
    lines = [f"{found.site}: {'closed' if found.closed_at else 'ending'} ({found.reason})", ""]
    lines += [
        f"  {one.step.ljust(12)}  {one.standing.ljust(10)}  {one.text}"
        + (f", report {one.report}" if one.report else f", consignment {one.consignment}" if one.consignment else "")
        + (f", {one.at}" if one.at else "")
        for one in found.steps
    ]
    lines += ["", "kept here:"]
    lines += [
        f"  {str(one.count).rjust(6)} {one.what}" + (f", until {one.until}" if one.until else "")
        for one in found.kept
        if one.count
    ]
    if found.unanswered:
        shown = ", ".join(str(one) for one in found.unanswered[-12:])
        lines.append(f"consignments that no report answers: {shown}")
    if found.purged_at:
        lines.append(f"deleted {found.purged_at}")
    elif found.keep_until is None:
        lines.append("no contract in the ledger says until when; import a bundle of its release")
    return "\n".join(lines)


def ending_data(found: "Ending") -> dict[str, Any]:
    """The same for programs."""
    import msgspec

    return {
        "site": found.site,
        "reason": found.reason,
        "requested_at": found.requested_at,
        "requested_by": found.requested_by,
        "closed_at": found.closed_at,
        "steps": [asdict(one) for one in found.steps],
        "kept": [msgspec.to_builtins(one) for one in found.kept],
        "keep_until": found.keep_until,
        "contract": found.contract,
        "unanswered": list(found.unanswered),
        "purged_at": found.purged_at,
    }
