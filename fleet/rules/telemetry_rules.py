"""Judge telemetry by the contract that its report names. Pure; trusts neither the site's collectors nor its reports.

The contract's JSON Schema decides about every row (jsonschema); what a schema cannot say is checked here.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any  # jsonschema judges plain JSON

import msgspec
from jsonschema import Draft202012Validator

from manifests.documents.contract import INTERVAL_KINDS, Contract, Signal
from manifests.documents.contract_schema import signal_schema
from manifests.documents.telemetry import SignalRows, Telemetry, TelemetryRow
from manifests.words.canonical import encode
from manifests.words.errors import MalformedError
from manifests.words.time import parse_time

# So many breaches of one file are named.
MAX_NAMED = 5


def telemetry_breaches(telemetry: Telemetry, size: int, contract: Contract) -> tuple[str, ...]:
    """Return what the contract does not allow, in words without values of the file; empty for a file that it allows.

    Args:
        size: Of the file, in bytes.
    """
    breaches = (
        [] if size <= contract.telemetry_bytes else [f"{size} bytes, the contract allows {contract.telemetry_bytes}"]
    )
    for rows in telemetry.signals:
        breaches += _signal_breaches(rows, contract)
    return tuple(dict.fromkeys(breaches))[:MAX_NAMED]


def _signal_breaches(rows: SignalRows, contract: Contract) -> Iterator[str]:
    signal = next((listed for listed in contract.signals if listed.name == rows.signal), None)
    if signal is None or signal.kind == "deployment-state":
        yield "a signal that the contract does not list"
        return
    for error in _validator(msgspec.json.encode(signal_schema(signal))).iter_errors(msgspec.json.decode(encode(rows))):
        # The message of the library quotes the value, which may be anything.
        place = "/".join(str(part) for part in error.absolute_path if isinstance(part, int)) or "rows"
        yield f"signal {signal.name}, row {place}: breaks `{error.validator}` of the contract"
    for row in rows.rows:
        try:
            parse_time(row.start)
        except MalformedError:
            yield f"signal {signal.name}: a time that is not in the calendar"
    keys = {(row.start, row_key(signal, row)) for row in rows.rows}
    if signal.kind in INTERVAL_KINDS and len(keys) != len(rows.rows):
        yield f"signal {signal.name}: two rows of one interval"


def row_key(signal: Signal, row: TelemetryRow) -> str:
    """Return what tells rows of one interval apart: their labels, and the fields that are words of a list."""
    words = {name: value for name, value in row.values.items() if name in signal.fields and signal.fields[name].enum}
    return encode({"labels": row.labels, "words": words}).decode()


@lru_cache(maxsize=64)
def _validator(schema: bytes) -> Any:
    return Draft202012Validator(msgspec.json.decode(schema))
