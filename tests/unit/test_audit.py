"""docs/audit.md lists what `waybill verify` loads, within limits, and nothing there writes, signs or makes keys."""

import ast
import re
from pathlib import Path

import pytest

from tests.unit.test_architecture import MODULES, ROOT, loaded
from tests.vendor import Vendor

# The limits of the two lists. Whoever makes a list longer changes the number here and in docs/audit.md, and says why.
# The second grew with the types of telemetry values and of parameters, and with the needs of the host.
LIMITS = (1900, 3160)
MAX_COMPLEXITY = 15
BRANCHES = (ast.If, ast.IfExp, ast.For, ast.While, ast.ExceptHandler, ast.BoolOp, ast.comprehension, ast.match_case)
# Calls that change something: files, folders, keys, signatures. Standard output is the console's.
CHANGES = {
    *("write", "write_bytes", "write_text", "writelines", "mkdir", "makedirs", "unlink", "rename", "rmdir", "rmtree"),
    *(
        "symlink",
        "link",
        "chmod",
        "truncate",
        "ftruncate",
        "fsync",
        "pwrite",
        "pwritev",
        "sign",
        "generate_private_key",
    ),
    *("load_pem_private_key", "private_bytes", "system", "Popen", "run", "socket", "connect", "exec", "eval"),
}


def audited() -> list[list[str]]:
    """The files of each of the three lists, in order."""
    sections = (ROOT / "docs" / "audit.md").read_text().split("\n## ")[1:4]
    return [re.findall(r"^- `([\w/]+\.py)`: \S.*\.$", section, re.MULTILINE) for section in sections]


BELIEVES, READS, COMMAND = audited()
PART = [*BELIEVES, *READS]


def test_the_lists_are_what_verify_of_a_key_signed_bundle_loads(tmp_path: Path) -> None:
    vendor = Vendor()
    bundle, root = vendor.write(tmp_path / "small.tar"), tmp_path / "1.root.json"
    root.write_bytes(vendor.root_file())
    known = {**MODULES, "waybill": ROOT / "waybill.py"}
    paths = [known[name] for name in loaded("verify", str(bundle), "--root", str(root)) if name in known]
    files = {str(path.relative_to(ROOT)) for path in paths if path.name != "__init__.py"}
    assert files == {*PART, *COMMAND}
    assert len(files) == len([*PART, *COMMAND])


@pytest.mark.parametrize(("files", "limit"), [(BELIEVES, LIMITS[0]), (READS, LIMITS[1])])
def test_the_lists_are_short(files: list[str], limit: int) -> None:
    lines = sum(len((ROOT / file).read_text().splitlines()) for file in files)
    assert lines <= limit
    assert f"At most {limit:,} lines." in (ROOT / "docs" / "audit.md").read_text()


def test_packages_hold_no_code_of_their_own() -> None:
    """An ``__init__.py`` is loaded too, and is in no list: it may hold nothing but its docstring."""
    for path in MODULES.values():
        if path.name == "__init__.py":
            assert len(ast.parse(path.read_text()).body) <= 1


@pytest.mark.parametrize("file", PART)
def test_nothing_in_the_part_to_audit_changes_anything(file: str) -> None:
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            assert name not in CHANGES, f"{file}:{node.lineno}"
            if name in ("open", "fdopen"):
                modes = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
                assert modes in ([], ["rb"]), f"{file}:{node.lineno}"
        if isinstance(node, ast.Attribute):
            assert node.attr not in ("O_WRONLY", "O_RDWR", "O_CREAT"), f"{file}:{node.lineno}"
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            assert not {name.split(".")[0] for name in names} & {"yaml", "subprocess", "tempfile", "shutil"}


def complexity(function: ast.AST) -> int:
    """One more than the branches of a function, functions inside it not counted."""
    count, queue = 1, list(ast.iter_child_nodes(function))
    while queue:
        node = queue.pop()
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            continue
        if isinstance(node, BRANCHES):
            count += len(node.values) - 1 if isinstance(node, ast.BoolOp) else 1
        if isinstance(node, ast.comprehension):
            count += len(node.ifs)
        queue += ast.iter_child_nodes(node)
    return count


@pytest.mark.parametrize("file", PART)
def test_functions_of_the_part_to_audit_are_simple(file: str) -> None:
    functions = [node for node in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(node, ast.FunctionDef)]
    assert not {function.name: complexity(function) for function in functions if complexity(function) > MAX_COMPLEXITY}
