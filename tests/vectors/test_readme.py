"""Each attack of README.md has a vector or a test that is there."""

import re
from pathlib import Path

import pytest

from tests.vectors.make import HERE, read_expect, topics

ROOT = Path(__file__).parents[2]
ATTACKS = (HERE / "README.md").read_text().partition("\n## What an attacker tries\n")[2]
ROWS = [
    (found[1], re.findall(r"`([^`]+)`", found[2]))
    for found in re.finditer(r"^\| ([^|]+) \| (`[^|]+) \|$", ATTACKS, re.MULTILINE)
]


@pytest.mark.parametrize(("attack", "names"), ROWS, ids=[attack.replace(" ", "-") for attack, _ in ROWS])
def test_is_there(attack: str, names: list[str]) -> None:
    assert names
    for name in names:
        if "::" in name:
            path, _, test = name.partition("::")
            assert re.search(rf"^def {test}\(", (ROOT / path).read_text(), re.MULTILINE), name
        else:
            topic, _, variant = name.partition("/")
            assert variant in read_expect(HERE / topic), name


def test_the_list_is_long_and_names_no_attack_twice() -> None:
    attacks = [attack for attack, _ in ROWS]
    assert len(attacks) == len(set(attacks)) > 95


def test_attacks_by_vectors_are_refused() -> None:
    """A vector of the list says no, unless the attack is one that must not be refused."""
    harmless = {"oci-graph", "site", "root-growth", "leavers", "image-signature-junk", "root-chain"}
    for _, names in ROWS:
        for name in names:
            topic, _, variant = name.partition("/")
            if topic in topics() and topic not in harmless:
                assert not read_expect(HERE / topic)[variant].startswith("ok"), name
