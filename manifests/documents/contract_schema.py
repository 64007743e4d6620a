"""The JSON Schema (2020-12) of what a telemetry contract lets leave: closed, without any free text.

Support validates what arrives with it. The collector and the report builder have checks of their own.
"""

from collections.abc import Mapping

from manifests.documents.contract import Contract, Signal, Values
from manifests.documents.telemetry import MAX_MOMENTS, TELEMETRY_TYPE

Schema = dict[str, object]

_DIGEST = "^sha256:[0-9a-f]{64}$"
_TIME = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"
# Semantic Versioning 2.0.0 in lower case.
_VERSION = (
    r"^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)"
    r"(-[0-9a-z-]+(\.[0-9a-z-]+)*)?(\+[0-9a-z-]+(\.[0-9a-z-]+)*)?$"
)


def telemetry_schema(contract: Contract) -> Schema:
    """Return the schema of a whole telemetry file under the contract."""
    signals = [signal for signal in contract.signals if signal.kind != "deployment-state"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_closed(
            {
                "type": {"const": TELEMETRY_TYPE},
                "site": {"type": "string"},
                "environment": {"type": "string"},
                "seq": {"type": "integer", "minimum": 1},
                "contract": {"type": "string", "pattern": _DIGEST},
                "signals": {
                    "type": "array",
                    "maxItems": len(signals),
                    "items": {"oneOf": [signal_schema(signal) for signal in signals]} if signals else False,
                },
            },
            "type",
            "site",
            "environment",
            "seq",
            "contract",
        ),
    }


def signal_schema(signal: Signal) -> Schema:
    """Return the schema of the rows of one signal, with its name."""
    most = signal.rows or MAX_MOMENTS
    rows = {"type": "array", "minItems": 1, "maxItems": most, "items": _row(signal)}
    return _closed({"signal": {"const": signal.name}, "rows": rows}, "signal", "rows")


def _row(signal: Signal) -> Schema:
    row: dict[str, Schema] = {
        "release": {"type": "string", "pattern": _DIGEST},
        "start": {"type": "string", "pattern": _TIME},
        "seconds": {"type": "integer", "minimum": 0, "maximum": signal.per_seconds or 0},
        "values": _closed({name: _value(values) for name, values in signal.fields.items()}) | {"minProperties": 1},
    }
    required = ["start", "values"]
    if signal.labels:
        row["labels"] = _closed({name: _value(values) for name, values in signal.labels.items()}, *signal.labels)
        required.append("labels")
    return _closed(row, *required)


def _value(values: Values) -> Schema:
    if values.enum is not None:
        return {"enum": list(values.enum)}
    bounds = values.integer or values.duration
    if bounds is not None:
        return {"type": "integer", "minimum": bounds[0], "maximum": bounds[1]}
    if values.type == "bool":
        return {"type": "boolean"}
    return {"type": "string", "maxLength": 128, "pattern": _DIGEST if values.type == "digest" else _VERSION}


def _closed(properties: Mapping[str, object], *required: str) -> Schema:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": sorted(required),
        "additionalProperties": False,
    }
