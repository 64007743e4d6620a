"""Errors: a changed error is a new one."""

from inspect import getmembers, isclass

import pytest

from manifests.words import errors
from manifests.words.errors import DamagedError, Piece, UntrustedError, WaybillError

CLASSES = [kind for _, kind in getmembers(errors, isclass) if issubclass(kind, WaybillError)]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_with_makes_a_new_error_and_leaves_the_old_one(kind: type[WaybillError]) -> None:
    error = kind("a is b, expected c", where="$.a", remedy="write c", finding="a-wrong")
    changed = error.with_(problem="a is d", finding="a-other")
    assert type(changed) is kind and changed is not error
    assert (changed.problem, changed.where, changed.remedy, changed.finding) == ("a is d", "$.a", "write c", "a-other")
    assert (error.problem, error.finding, error.args) == ("a is b, expected c", "a-wrong", ("a is b, expected c",))
    assert changed.args == ("a is d",) and str(changed) == "$.a: a is d"
    moved = error.with_(where="", remedy="write d")
    assert (moved.problem, moved.where, moved.remedy) == (error.problem, "", "write d")


def test_pieces_and_cause_stay() -> None:
    piece = Piece("a", 0, 1, "changed")
    with pytest.raises(DamagedError) as caught:
        raise DamagedError("a", pieces=(piece,)) from UntrustedError("b")
    changed = caught.value.with_(problem="c")
    assert isinstance(changed, DamagedError) and changed.pieces == (piece,)
    assert changed.__cause__ is caught.value.__cause__ and changed.__traceback__ is caught.value.__traceback__
