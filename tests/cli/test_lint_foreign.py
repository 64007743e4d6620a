"""`waybill lint` reports every fault of an advisory or SBOM at once, where `build` stops at the first."""

import json
from pathlib import Path
from typing import Any

import pytest

from content.commands.lint import lint
from manifests.foreign.attachments import check_openvex
from manifests.foreign.json_faults import MAX_FAULTS
from manifests.foreign.sbom import read_sbom_file
from manifests.words.errors import MalformedError
from tests.waybill import waybill
from tests.workshop import Workshop

VEX = {
    "@context": "https://openvex.dev/ns/v0.2.0",
    "@id": "https://vendor.example/vex/1",
    "author": "Vendor",
    "timestamp": "2026-11-20T09:00:00Z",
    "version": 1,
    "statements": [{"vulnerability": {"name": "CVE-2026-1"}, "status": "fixed"}],
}
SHAPE = {
    "@context": VEX["@context"],
    "@id": 7,
    "timestamp": "2026-11-20T09:00:00Z",
    "version": 1.5,
    "statements": [
        {"vulnerability": {}, "status": "bad"},
        {"vulnerability": {"name": "CVE-2026-1"}, "status": "fixed"},
        {"products": []},
        {"vulnerability": 5, "status": "nope", "justification": 3},
    ],
}
SHAPE_FAULTS = [
    "$.@id: expected `str`, got `int`",
    "$.version: expected `int | str`, got `float`",
    "$.statements[0].vulnerability: object missing required field `name`",
    "$.statements[0].status: invalid enum value 'bad'",
    "$.statements[2]: object missing required field `vulnerability`",
    "$.statements[2]: object missing required field `status`",
    "$.statements[3].vulnerability: expected `str | object`, got `int`",
    "$.statements[3].status: invalid enum value 'nope'",
    "$.statements[3].justification: expected `str`, got `int`",
    "$: object missing required field `author`",
]
STATEMENTS = [
    {"vulnerability": "CVE-2026-1", "status": "affected"},
    {"vulnerability": "CVE-2026-2", "status": "fixed"},
    {"vulnerability": "CVE-2026-3", "status": "not_affected"},
]
STATEMENT_FAULTS = [
    "$.statements[0]: affected needs an action_statement",
    "$.statements[2]: not_affected needs a justification or an impact_statement",
]


def written(folder: Path, document: object, *, end: str = "") -> Path:
    """The document in a file; ``end`` goes before the last brace."""
    path = folder / "document.json"
    text = json.dumps(document)
    path.write_text(text if not end else f"{text[:-1]}, {end}}}")
    return path


def problems(path: Path, kind: str) -> list[str]:
    result = lint(path)
    assert result.kind == kind
    return [str(problem).removeprefix(f"{path}").removeprefix(":").strip() for problem in result.problems]


@pytest.mark.parametrize(
    ("document", "end", "expected"),
    [
        (VEX, "", []),
        (SHAPE, "", SHAPE_FAULTS),
        (VEX | {"statements": STATEMENTS}, "", STATEMENT_FAULTS),
        (
            VEX | {"statements": STATEMENTS},
            '"author": "x", "version": 2',
            [
                *STATEMENT_FAULTS,
                "the key 'author' appears twice in one object",
                "the key 'version' appears twice in one object",
            ],
        ),
        (VEX | {"statements": []}, "", ["$.statements: expected `array` of length >= 1"]),
        (VEX | {"statements": [5, 6]}, "", [f"$.statements[{i}]: expected `object`, got `int`" for i in (0, 1)]),
    ],
)
def test_every_fault_of_an_advisory(tmp_path: Path, document: object, end: str, expected: list[str]) -> None:
    path = written(tmp_path, document, end=end)
    assert problems(path, "advisory") == expected
    if expected:
        with pytest.raises(MalformedError):
            check_openvex(path.read_bytes(), str(path))


CYCLONEDX: dict[str, Any] = {"bomFormat": "CycloneDX", "specVersion": "1.5", "components": [{"name": "alpha"}]}
SPDX3 = "https://spdx.org/rdf/3.0.1/spdx-context.jsonld"


@pytest.mark.parametrize(
    ("document", "end", "expected"),
    [
        (CYCLONEDX, "", []),
        (
            CYCLONEDX
            | {
                "specVersion": "1.99",
                "components": [{"name": 5}, {"components": [{"purl": 1}, {"version": 2}]}, "x"],
                "metadata": 3,
            },
            '"metadata": 4',
            [
                "the key 'metadata' appears twice in one object",
                "CycloneDX 1.99, expected 1.2 to 1.9",
                "not an SBOM: expected `str | null`, got `int` - at `$.components[0].name`",
                "not an SBOM: expected `str | null`, got `int` - at `$.components[1].components[0].purl`",
                "not an SBOM: expected `str | null`, got `int` - at `$.components[1].components[1].version`",
                "not an SBOM: expected `object | null`, got `str` - at `$.components[2]`",
                "not an SBOM: expected `object | null`, got `int` - at `$.metadata`",
            ],
        ),
        (
            {"bomFormat": 3, "specVersion": 1.5},
            "",
            [
                "not an SBOM: expected `str | null`, got `int` - at `$.bomFormat`",
                "not an SBOM: expected `str | null`, got `float` - at `$.specVersion`",
            ],
        ),
        (
            {"spdxVersion": "SPDX-2.3", "packages": [{"name": 5}, {"externalRefs": 3}]},
            "",
            [
                "not an SBOM: expected `str | null`, got `int` - at `$.packages[0].name`",
                "not an SBOM: expected `array | null`, got `int` - at `$.packages[1].externalRefs`",
            ],
        ),
        (
            {"@context": SPDX3, "@graph": [{"type": 5}, {"type": "software_Package", "name": 3}]},
            "",
            [
                "not an SBOM: expected `str | array | null`, got `int` - at `$.@graph[0].type`",
                "not an SBOM: expected `str | null`, got `int` - at `$.@graph[1].name`",
            ],
        ),
        (CYCLONEDX | {"components": []}, "", ["the SBOM lists no components"]),
    ],
)
def test_every_fault_of_an_sbom(tmp_path: Path, document: object, end: str, expected: list[str]) -> None:
    path = written(tmp_path, document, end=end)
    assert problems(path, "sbom") == expected
    if expected:
        with pytest.raises(MalformedError) as caught:
            read_sbom_file(path.read_bytes(), path)
        assert caught.value.problem in expected


@pytest.mark.parametrize("data", [b"{", b'{"bomFormat": "CycloneDX"', b"[" * 100, b"<bom/>", b"\xff\xfe{\x00"])
@pytest.mark.parametrize("mark", [b"", b'{"bomFormat": "https://openvex.dev/ns"'])
def test_what_is_no_json_is_one_fault(tmp_path: Path, data: bytes, mark: bytes) -> None:
    path = tmp_path / "document.json"
    path.write_bytes(mark + data)
    (problem,) = lint(path).problems
    assert problem.exit_code == 3


def test_the_number_of_faults_is_bounded(tmp_path: Path) -> None:
    path = written(tmp_path, VEX | {"statements": [{"status": "bad"}] * 1000})
    assert len(lint(path).problems) == MAX_FAULTS
    path = written(tmp_path, CYCLONEDX | {"components": [{"name": 1}] * 1000})
    assert len(lint(path).problems) == MAX_FAULTS


def test_a_release_reports_the_faults_of_what_it_names(tmp_path: Path) -> None:
    shop = Workshop(tmp_path / "vendor")
    shop.tiny()
    shop.write("sbom.json", json.dumps(CYCLONEDX | {"components": [{"name": 5}, {"version": 6}]}))
    shop.write("vex.json", json.dumps(VEX | {"statements": STATEMENTS}))
    shop.release["advisories"] = ["vex.json"]
    shop.save()
    done = waybill("lint", "release.yaml", cwd=shop.path)
    assert done.code == 3
    assert [line.partition(" ")[0] for line in done.out.splitlines() if "  hint" not in line] == [
        *("vex.json", "vex.json"),
        *("sbom.json:", "sbom.json:"),
    ]
    assert done.err.startswith("error: 4 problems in 1 of 1 file")
