"""All faults of a handwritten file at once: unknown keys, missing keys, wrong types."""

from manifests.authored.handwritten import parse_handwritten, shape_problems
from manifests.authored.release_yaml import ReleaseFile

TEXT = b"""\
product: small
version: 7
sequence: one
colour: red
images:
- {name: api, form: x}
"""


def test_each_fault_is_reported_once_with_its_line() -> None:
    problems = shape_problems(parse_handwritten(TEXT, "release.yaml"), ReleaseFile)
    found = [(problem.where.rpartition(":")[2], problem.problem) for problem in problems]
    lines = [int(line) for line, _ in found]
    texts = "\n".join(text for _, text in found)
    assert {2, 3, 4, 6} <= set(lines)
    for name in ("version", "sequence", "colour", "form"):
        assert texts.count(f"{name}") >= 1
    assert "missing required field `contract`" in texts
    assert "missing required field `version`" not in texts
    assert len(found) == len(set(found))


def test_a_file_that_fits_has_none_and_another_kind_of_value_is_one() -> None:
    assert len(shape_problems(parse_handwritten(b"- product\n", "release.yaml"), ReleaseFile)) == 1
    empty = shape_problems(parse_handwritten(b"waybill: 1\n", "release.yaml"), ReleaseFile)
    assert len({problem.problem for problem in empty}) == len(empty) > 3
