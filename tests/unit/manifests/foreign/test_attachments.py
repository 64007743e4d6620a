"""Documents of others that a release carries: SBOMs and advisories."""

import json
from typing import Any

import pytest

from manifests.foreign.attachments import check_openvex
from manifests.foreign.sbom import check_sbom, format_of
from manifests.words.errors import MalformedError

CYCLONEDX = {"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [{"name": "a", "version": "1"}]}
SPDX = {"spdxVersion": "SPDX-2.3", "packages": [{"name": "a", "versionInfo": "1"}]}
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


@pytest.mark.parametrize(("value", "kind"), [(CYCLONEDX, "cyclonedx"), (SPDX, "spdx")])
def test_sbom(value: object, kind: str) -> None:
    assert check_sbom(dump(value), "x") == kind


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an SBOM"),
        (b"[]", "not an SBOM"),
        (b"{}", "neither CycloneDX nor SPDX"),
        (b"\xff\xfe{}", "not an SBOM"),
        (dump(CYCLONEDX | {"components": []}), "the SBOM lists no components"),
        (dump({"bomFormat": "CycloneDX", "specVersion": "1.6"}), "the SBOM lists no components"),
        (dump(CYCLONEDX | {"components": [{"version": "1"}]}), "missing required field `name`"),
        (dump(CYCLONEDX | {"components": [{"name": ""}]}), "length >= 1"),
        (dump(CYCLONEDX | {"specVersion": "1.0"}), r"CycloneDX 1\.0, expected"),
        (dump(SPDX | {"packages": []}), "the SBOM lists no packages"),
        (dump(SPDX | {"spdxVersion": "SPDX-1.2"}), r"SPDX-1\.2, expected"),
        (b'{"a":' * 100 + b"1" + b"}" * 100, "nested deeper than"),
        (dump(CYCLONEDX)[:-1], "not an SBOM"),
    ],
)
def test_what_is_no_sbom(data: bytes, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        check_sbom(data, "x")


def test_media_types() -> None:
    assert format_of("application/vnd.cyclonedx+json; version=1.6") == "cyclonedx"
    assert [format_of(one) for one in ("application/spdx+json", "text/spdx+json", "spdx+json")] == ["spdx"] * 3
    assert format_of("application/vnd.in-toto+json") is None


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
