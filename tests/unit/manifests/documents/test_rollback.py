"""The rollback document: authored, compiled, read back. Compiled ones that contradict themselves are vectors."""

import pytest

from manifests.authored.handwritten import parse_handwritten
from manifests.authored.rollback_yaml import compile_rollback
from manifests.documents.rollback import Rollback, parse_rollback
from manifests.words.canonical import encode
from manifests.words.errors import MalformedError

FILE = """\
waybill: 1
back_to: [">=1.0.0, <2.0.0"]
class: restore-only
offered_for: 30d
state:
  - name: db
    before: {reads: [1, 2], writes: 2}
    after: {reads: [2, 3], writes: 3}
backup:
  - name: dump
    make: [dump, --all]
    restore: [load]
    try: [load, --dry]
    at_most: 2GiB
    takes: 5m
steps:
  - name: move
    touches: [db]
    do: [migrate, up]
    undo: [migrate, down]
    repeatable: false
    after_crash: restore
    takes: 90s
no_return: move
loses: orders of the last hours
rehearsal: in may
recovery:
  rolled-back: ["Nothing to do."]
  inconsistent: ["Stop.", "Call support."]
"""


def compiled(text: str) -> Rollback:
    return compile_rollback(parse_handwritten(text.encode(), "rollback.yaml"))


def test_compiled_it_has_no_units() -> None:
    found = compiled(FILE)
    assert found.offered_for_seconds == 30 * 86400
    assert found.backup[0].at_most_bytes == 2 << 30
    assert found.backup[0].takes_seconds == 300
    assert found.steps[0].takes_seconds == 90
    assert found.steps[0].undo == ("migrate", "down")
    assert parse_rollback(encode(found)) == found


@pytest.mark.parametrize("proves", ["rows", "digest"])
def test_a_backup_says_what_it_proves(proves: str) -> None:
    """Left out it proves nothing, which older documents mean by leaving it out."""
    found = compiled(FILE.replace("takes: 5m", f"takes: 5m\n    proves: {proves}"))
    assert found.backup[0].proves == proves
    assert compiled(FILE).backup[0].proves is None
    assert b"proves" not in encode(compiled(FILE))


@pytest.mark.parametrize(
    ("old", "new", "line", "problem"),
    [
        (">=1.0.0, <2.0.0", "1.x", 2, "not a range"),
        ("restore-only", "easy", 3, "invalid"),
        ("class: restore-only", "class: stateless", 3, "has no state"),
        ("class: restore-only", "class: compatible", 24, "no point of no return"),
        ("30d", "30", 4, "text"),
        ("30d", "a month", 4, "not a duration"),
        ("reads: [1, 2]", "reads: [1]", 7, "length"),
        ("writes: 3", "writes: -3", 8, ">= 0"),
        ("2GiB", "2G", 14, "not a size"),
        ("5m", "soon", 15, "not a duration"),
        ("takes: 5m", "takes: 5m\n    proves: a lot", 16, "invalid"),
        ("touches: [db]", "touches: [files]", 18, "not under `state`"),
        ("do: [migrate, up]", "do: []", 19, "length"),
        ("after_crash: restore", "after_crash: pray", 22, "invalid"),
        ("takes: 90s", "takes: 90", 23, "text"),
        ("no_return: move", "no_return: jump", 24, "not one of the steps"),
        ('  rolled-back: ["Nothing to do."]\n', "", 27, "needs rolled-back and inconsistent"),
        (
            "  - name: dump",
            "  - name: dump\n    make: [a]\n    restore: [a]\n    try: [a]\n    at_most: 1B\n    takes: 1s\n"
            "  - name: dump",
            9,
            "two entries have one name",
        ),
        ("loses: orders of the last hours\n", "", 1, "missing required field `loses`"),
    ],
)
def test_errors_have_their_line(old: str, new: str, line: int, problem: str) -> None:
    """F-12.2, as authors meet it."""
    assert old in FILE
    with pytest.raises(MalformedError) as caught:
        compiled(FILE.replace(old, new, 1))
    assert caught.value.where == f"rollback.yaml:{line}", caught.value
    assert problem in caught.value.problem


def test_compatible_means_that_the_old_release_reads_what_the_new_one_writes() -> None:
    text = FILE.replace("restore-only", "compatible").replace("no_return: move\n", "")
    with pytest.raises(MalformedError, match="cannot read format 3 of db") as caught:
        compiled(text)
    assert caught.value.where == "rollback.yaml:6"
    assert compiled(text.replace("after: {reads: [2, 3], writes: 3}", "after: {reads: [2, 3], writes: 2}"))


def test_reversible_means_an_undo_for_every_step() -> None:
    text = FILE.replace("restore-only", "reversible").replace("no_return: move\n", "")
    assert compiled(text).class_ == "reversible"
    with pytest.raises(MalformedError, match="undo for every step"):
        compiled(text.replace("    undo: [migrate, down]\n", ""))
