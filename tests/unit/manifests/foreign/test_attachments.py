"""Documents of others that a release carries: advisories."""

import json
from typing import Any

import pytest

from manifests.foreign.attachments import check_openvex
from manifests.words.errors import MalformedError

STATEMENT = {"vulnerability": {"name": "CVE-2099-0001"}, "status": "fixed"}
OPENVEX = {
    "@context": "https://openvex.dev/ns/v0.2.0",
    "@id": "https://small.example/vex/1",
    "author": "small",
    "timestamp": "2026-11-20T09:00:00Z",
    "version": 1,
    "statements": [STATEMENT],
}


def dump(value: object) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (STATEMENT, ""),
        ({"vulnerability": "CVE-2020-1", "status": "under_investigation"}, ""),
        ({**STATEMENT, "status": "affected", "action_statement": "update"}, ""),
        ({**STATEMENT, "status": "affected"}, "affected needs an action_statement"),
        ({**STATEMENT, "status": "not_affected", "justification": "component_not_present"}, ""),
        ({**STATEMENT, "status": "not_affected"}, "not_affected needs a justification"),
        ({**STATEMENT, "status": "harmless"}, "enum"),
        ({"status": "fixed"}, "vulnerability"),
    ],
)
def test_openvex(statement: dict[str, Any], message: str) -> None:
    data = dump(OPENVEX | {"statements": [statement]})
    if not message:
        assert len(check_openvex(data, "x").statements) == 1
        return
    with pytest.raises(MalformedError, match=message):
        check_openvex(data, "x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"@context": "https://example.com"}, "@context is"),
        ({"statements": []}, "length >= 1"),
        ({"author": ""}, "length >= 1"),
        ({"@id": 7}, "expected `str`"),
    ],
)
def test_what_is_no_openvex(change: dict[str, Any], message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        check_openvex(dump(OPENVEX | change), "x")
