"""Each vector ends as its `expect` says; a bundle from a file and from a pipe."""

import pytest

from tests.vectors.make import HERE, frozen, read_expect, topics
from tests.vectors.of_frozen import FROZEN
from tests.vectors.surgery import Case, from_file, from_pipe, verdict

TOPICS = topics()
FROZEN_CASES = frozen()
VARIANTS = [(topic, variant) for topic, one in TOPICS.items() for variant in one.variants]


@pytest.mark.parametrize(("topic", "variant"), VARIANTS, ids=[f"{topic}/{variant}" for topic, variant in VARIANTS])
def test_vector(topic: str, variant: str) -> None:
    case = TOPICS[topic].variants[variant]()
    found = verdict(case)
    assert found.line == read_expect(HERE / topic).get(variant), found.text
    if isinstance(case, Case):
        assert from_pipe(case).kind == found.kind


@pytest.mark.parametrize("name", sorted(FROZEN_CASES))
def test_frozen_vector(name: str) -> None:
    case = FROZEN_CASES[name]
    expected = (HERE / name / "expect").read_text().strip()
    assert from_file(case).line == expected
    assert from_pipe(case).line == expected


@pytest.mark.parametrize("name", sorted(FROZEN))
def test_today_makes_the_frozen_bytes(name: str) -> None:
    """As long as the writer of format 1 is here, it writes the same bundle for the same input."""
    assert FROZEN[name][1]() == FROZEN_CASES[name]


def test_folders_are_the_topics() -> None:
    folders = {path.parent.name for path in HERE.glob("*/expect")}
    assert folders == set(TOPICS) | set(FROZEN)
    for name, topic in TOPICS.items():
        assert (HERE / name / "README").read_text() == topic.text + "\n", name
        assert list(read_expect(HERE / name)) == list(topic.variants), name


def test_a_flipped_byte_of_a_frozen_head_is_refused() -> None:
    """The frozen bundles are no exception: their heads are bound as any other's."""
    for name in ("frozen-one-signer", "frozen-two-signers"):
        case = FROZEN_CASES[name]
        for at in range(1024, 12_000, 211):
            data = case.bundle[:at] + bytes([case.bundle[at] ^ 1]) + case.bundle[at + 1 :]
            assert not from_file(Case(data, case.pin)).good, (name, at)
