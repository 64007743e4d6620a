"""Make a JSON Schema of the values of a chart: their types, and the comments that explain them."""

import json
import re
from collections.abc import Mapping

import yaml

from manifests.foreign.config_schema import DIALECT
from manifests.words.errors import MalformedError

_MAX_DEPTH = 12
_MAX_COMMENT = 200
_MARK = re.compile(r"^#+\s*(--\s*|@\w+\s*)?")


def schema_of_values(data: bytes, chart: Mapping[str, object], where: str) -> bytes:
    """Return a schema that accepts the values of a ``values.yaml``, and other values of the same types.

    At the top only keys of the file, ``global`` and dependencies are accepted, so that a misspelt one is found; below,
    a chart may take more than it lists.

    Args:
        chart: Of ``Chart.yaml``.

    Raises:
        MalformedError: Not YAML.
    """
    try:
        node = yaml.compose(data, Loader=yaml.SafeLoader)
        text = data.decode("utf-8")
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(f"not YAML: {' '.join(str(error).split())[:200]}", where=f"{where} values.yaml") from None
    properties = _properties(node, text.splitlines(), 0)
    dependencies = chart.get("dependencies")
    for entry in dependencies if isinstance(dependencies, list) else ():
        name = (entry.get("alias") or entry.get("name")) if isinstance(entry, dict) else None
        if isinstance(name, str):
            properties.setdefault(name, {"type": "object", "description": f"values of the chart {entry['name']}"})
    properties.setdefault("global", {"type": "object"})
    schema = {
        "$schema": DIALECT,
        "title": f"values of the chart {chart.get('name')} {chart.get('version')}",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }
    return json.dumps(schema, indent=2, ensure_ascii=False).encode() + b"\n"


def _properties(node: yaml.Node | None, lines: list[str], depth: int) -> dict[str, object]:
    properties: dict[str, object] = {}
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if isinstance(key, yaml.ScalarNode):
            schema = _schema(value, lines, depth + 1)
            comment = _comment(lines, key.start_mark.line)
            properties[key.value] = {**schema, "description": comment} if comment else schema
    return properties


def _schema(node: yaml.Node, lines: list[str], depth: int) -> dict[str, object]:
    """The type of one value; of null, which says nothing about the type, none."""
    if isinstance(node, yaml.MappingNode):
        if not node.value or depth >= _MAX_DEPTH:
            return {"type": "object"}
        return {"type": "object", "properties": _properties(node, lines, depth)}
    if isinstance(node, yaml.SequenceNode):
        return {"type": "array"}
    kind = node.tag.rpartition(":")[2]
    types = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
    return {"type": types[kind]} if kind in types else {}


def _comment(lines: list[str], line: int) -> str:
    """The comment above a key, or at the end of its line."""
    above: list[str] = []
    while line > 0 and lines[line - 1].lstrip().startswith("#"):
        line -= 1
        above.insert(0, _MARK.sub("", lines[line].strip()))
    return " ".join(" ".join(above).split())[:_MAX_COMMENT]
