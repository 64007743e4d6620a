"""Bars on size and shape: modules, functions, parameters, commands, classes, names, untyped values."""

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.rooms import PACKAGES

ROOT = Path(__file__).parents[2]
FILES = [
    path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
    if not {"templates", "loader", "migrations"} & set(path.parts)  # a vendor's own files, Python of any age, history
]
MAX_MODULE = 450
MAX_FUNCTION = 60
MAX_PARAMETERS = 6
MAX_COMMAND = 25
MAX_ANY = 40
MAX_FIELDS = 25
# Documents of the format have the fields that the format gives them.
MANY_FIELDS = {"Release", "ReleaseFile", "ReviewRequest"}
# A name that says what a thing is stands for it; these say nothing.
PRONOUNS = {"one", "found", "said", "told", "whom"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(tree(path)):
        if isinstance(node, Function):
            yield node


def is_command(function: Function) -> bool:
    called = [node.func for node in function.decorator_list if isinstance(node, ast.Call)]
    return any(ast.unparse(name).rpartition(".")[2] == "command" for name in called)


def parameters(function: Function) -> list[ast.arg]:
    given = function.args
    return [one for one in (*given.posonlyargs, *given.args, *given.kwonlyargs) if one.arg not in ("self", "cls")]


def classes(path: Path) -> Iterator[ast.ClassDef]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ClassDef):
            yield node


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=named)
def test_modules_and_functions_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_MODULE
    for function in functions(path):
        length = (function.end_lineno or 0) - function.lineno + 1
        assert length <= MAX_FUNCTION, f"{function.name} has {length} lines"


@pytest.mark.parametrize("path", FILES, ids=named)
def test_functions_take_few_parameters_and_commands_do_little(path: Path) -> None:
    """A command gets one parameter for each of its options; whatever it calls gets one value."""
    for function in functions(path):
        if not is_command(function):
            assert len(parameters(function)) <= MAX_PARAMETERS, function.name
            continue
        body = function.body[1:] if ast.get_docstring(function) is not None else function.body
        length = (function.end_lineno or 0) - body[0].lineno + 1
        assert length <= MAX_COMMAND, f"{function.name} has {length} lines"


@pytest.mark.parametrize("path", FILES, ids=named)
def test_classes_have_few_fields_and_those_first(path: Path) -> None:
    for one in classes(path):
        kinds = [
            "field" if isinstance(node, ast.AnnAssign) else "method"
            for node in one.body
            if isinstance(node, ast.AnnAssign | ast.FunctionDef)
        ]
        assert kinds == sorted(kinds), one.name
        assert kinds.count("field") <= MAX_FIELDS or one.name in MANY_FIELDS, one.name


def test_a_class_name_means_one_thing() -> None:
    """Once in a package; in two packages only for a document of the format and the value that is made of it."""
    everywhere: Counter[str] = Counter()
    for package in PACKAGES:
        names = Counter(
            one.name for path in FILES if path.relative_to(ROOT).parts[0] == package for one in classes(path)
        )
        assert not {name for name, count in names.items() if count > 1}, package
        if package != "manifests":
            everywhere.update(name for name in names if not name.startswith("_"))
    assert not {name for name, count in everywhere.items() if count > 1}


@pytest.mark.parametrize("path", FILES, ids=named)
def test_things_have_names(path: Path) -> None:
    """`one` is allowed in a comprehension of one line, beside the plural that it is one of; fields are wire words."""
    allowed = {id(node.target) for each in classes(path) for node in each.body if isinstance(node, ast.AnnAssign)}
    for node in ast.walk(tree(path)):
        if (
            isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp)
            and node.lineno == node.end_lineno
        ):
            allowed |= {id(name) for each in node.generators for name in ast.walk(each.target)}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in allowed:
            assert node.id not in PRONOUNS, f"line {node.lineno}: {node.id}"
    for function in functions(path):
        for parameter in parameters(function):
            assert parameter.arg not in PRONOUNS, f"{function.name}: {parameter.arg}"
            if parameter.arg == "now" and parameter.annotation is not None:
                assert "datetime" in ast.unparse(parameter.annotation), function.name


def test_few_values_are_untyped_and_each_names_its_library() -> None:
    untyped = [
        (path, node)
        for path in FILES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Name) and node.id == "Any"
    ]
    assert len(untyped) < MAX_ANY, Counter(named(path) for path, _ in untyped)


@pytest.mark.parametrize("path", FILES, ids=named)
def test_errors_are_not_changed_after_they_were_made(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and path.name != "errors.py":
            assert node.attr not in ("problem", "remedy", "finding", "where"), node.lineno
