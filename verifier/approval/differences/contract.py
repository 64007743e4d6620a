"""Differences between two telemetry contracts."""

from collections.abc import Iterator

from manifests.documents.contract import Contract, Signal
from manifests.words.units import show_duration, show_size
from verifier.approval.differences.compare_values import Difference, compare_facts, compare_items, show_values


def contract_differences(old: Contract | None, new: Contract | None) -> Iterator[Difference]:
    """Yield the differences of two contracts: their limits, and the signals added, removed and changed."""
    yield from compare_facts("contract", _contract_facts(old), _contract_facts(new))
    was = {f"signal {one.name}": signal_facts(one) for one in old.signals} if old else {}
    now = {f"signal {one.name}": signal_facts(one) for one in new.signals} if new else {}
    yield from compare_items("contract", was, now)


def _contract_facts(contract: Contract | None) -> dict[str, str]:
    if contract is None:
        return {}
    return {
        "name": contract.contract,
        "version": str(contract.version),
        "purpose": contract.purpose,
        "telemetry of one report": f"at most {show_size(contract.telemetry_bytes)}",
    }


def signal_facts(signal: Signal) -> dict[str, str]:
    """Return every limit of a signal."""
    facts: dict[str, str] = {"kind": signal.kind}
    if signal.core:
        facts["fields"] = ", ".join((*signal.core, *(f"{name} (optional)" for name in signal.optional)))
    else:
        facts["fields"] = ", ".join(f"{name} {show_values(value)}" for name, value in signal.fields.items())
    if signal.labels:
        facts["by"] = ", ".join(f"{name} {show_values(value)}" for name, value in signal.labels.items())
    if signal.per_seconds:
        facts["per"] = show_duration(signal.per_seconds)
    if signal.rows:
        facts["rows"] = f"at most {signal.rows}"
    source = signal.source
    if source is not None:
        limits = {name: getattr(source, name) for name in source.__struct_fields__ if getattr(source, name) is not None}
        patterns = limits.pop("patterns", None)
        words = [f"{name} {value}" for name, value in limits.items()]
        if patterns:
            words.append("counts of " + ", ".join(f"{name} ({text})" for name, text in sorted(patterns.items())))
        facts["from"] = ", ".join(words)
    facts["kept"] = f"{show_duration(signal.keep.site)} at the site, {show_duration(signal.keep.vendor)} by the vendor"
    facts["why"] = signal.why
    return facts
