"""Documents and program agree: help texts, drawings, paths that are named."""

import re
from pathlib import Path

import pytest

from manifests.documents.release import DRIVERS
from tests.docs import FILES, SITE_YAML, current, site_keys
from verifier.site.proposals import read_site_yaml

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("name", FILES)
def test_what_the_program_says_is_what_the_document_says(name: str) -> None:
    text = (ROOT / name).read_text()
    assert current(text) == text, "run make docs"


def test_the_examples_of_site_yaml_are_one_file_that_compiles(tmp_path: Path) -> None:
    assert {path for path, *_ in site_keys()} == SITE_YAML.keys()
    lines: list[str] = []
    before: list[str] = []
    for path, value in SITE_YAML.items():
        *above, key = path.split(".")
        same = next((i for i, pair in enumerate(zip(above, before, strict=False)) if pair[0] != pair[1]), len(above))
        same = min(same, len(before))
        lines += [f"{'  ' * depth}{above[depth]}:" for depth in range(same, len(above))]
        lines.append(f"{'  ' * len(above)}{key}: {value}")
        before = above
    (tmp_path / "site.yaml").write_text("\n".join(lines) + "\n")
    proposal = read_site_yaml(tmp_path)
    assert proposal.site.drivers.registry is not None
    assert proposal.site.drivers.registry.endpoint == "registry.plant.example:5000"
    assert proposal.site.keep.generations == 3


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), target


def test_tests_that_the_threats_name_exist() -> None:
    named = re.findall(r"`(tests/[\w/.*-]+)(?:::\w+)?`", (ROOT / "docs" / "threats.md").read_text())
    assert named
    for name in named:
        assert list(ROOT.glob(name.rstrip("/"))), name


def functions_of(path: Path) -> set[str]:
    return set(re.findall(r"^def (test_\w+)\(", path.read_text(), re.MULTILINE))


def test_single_tests_that_the_threats_name_exist() -> None:
    text = (ROOT / "docs" / "threats.md").read_text()
    for name, test in re.findall(r"`(tests/[\w/.-]+\.py)::(test_\w+)`", text):
        assert test in functions_of(ROOT / name), (name, test)


def test_every_attack_that_is_tested_has_its_line_in_the_threats_and_the_other_way_round() -> None:
    table = (ROOT / "docs" / "threats.md").read_text().partition("## Attacks, by name")[2].partition("\n## ")[0]
    named = re.findall(r"`(test_\w+)`", table)
    assert len(named) == len(set(named))
    assert set(named) == functions_of(ROOT / "tests" / "unit" / "test_attacks.py")


def test_tests_that_the_pains_name_exist() -> None:
    text = (ROOT / "docs" / "pains.md").read_text()
    rows = re.findall(r"^\| ([0-9]+) \|.*$", text, re.MULTILINE)
    assert rows == [str(number) for number in range(1, 27)]
    for line in text.splitlines():
        if re.match(r"\| [0-9]+ \|", line):
            named = re.findall(r"`(tests/[\w/.-]+\.py)(?:::(test_\w+))?`", line)
            assert named, line
            for name, test in named:
                assert (ROOT / name).is_file(), name
                assert not test or test in functions_of(ROOT / name), (name, test)


def test_targets_name_every_driver_and_what_was_not_tested() -> None:
    rows = [
        line.split("|")[1:-1] for line in (ROOT / "docs/targets.md").read_text().splitlines() if line.startswith("| ")
    ]
    head, *rows = rows
    assert [cell.strip() for cell in head][-2:] == ["tested against the real thing", "not tested"]
    assert all(len(row) == len(head) and row[3].strip() for row in rows)
    named = {cell.strip().strip("`") for row in rows for cell in row[1].split(",")}
    # Migrations have no target of their own.
    assert set(DRIVERS) - named == {"program"}
