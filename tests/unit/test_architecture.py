"""Rooms and arrows: who may import whom, and who may open a socket."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from manifests import errors

ROOT = Path(__file__).parents[2]
BASE = {"manifests", "content"}
MAY_IMPORT = {"manifests": set(), "content": {"manifests"}, "bundler": BASE, "verifier": BASE, "fleet": BASE}
NETWORK = {"socket", "ssl", "http", "urllib", "requests", "httpx", "oras", "xmlrpc", "supervisor", "asyncio"}
# design: sockets only in the registry client, the bundler, drivers, probes, collectors, the ledger and the web page.
MAY_REACH = (
    "content/registry.py",
    "content/auth.py",
    "content/session.py",
    "content/reference.py",
    "bundler/",
    "verifier/drivers/",
    "verifier/probes/",
    "verifier/collect/",
    "fleet/ledger",
    "fleet/web",
)
FILES = [path for room in MAY_IMPORT for path in sorted((ROOT / room).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    """Dotted names of everything that a file imports, at any depth of its code."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def tops(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    assert not tops(path) & set(MAY_IMPORT) - MAY_IMPORT[room] - {room}
    if not str(path.relative_to(ROOT)).startswith(MAY_REACH):
        assert not tops(path) & NETWORK


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_click_only_in_command_lines(path: Path) -> None:
    if path.name != "console.py" and not path.stem.endswith("cli"):
        assert "click" not in tops(path)


def reachable(start: str) -> set[Path]:
    """Files of ours that importing ``start`` can load, function bodies included."""
    seen: set[Path] = set()
    queue = [start]
    while queue:
        name = queue.pop()
        for candidate in (name, name.rpartition(".")[0]):
            base = ROOT / Path(*candidate.split("."))
            for path in (base.with_suffix(".py"), base / "__init__.py"):
                if candidate and path.exists() and path not in seen:
                    seen.add(path)
                    queue += [one for one in imported(path) if one.split(".")[0] in MAY_IMPORT]
    return seen


def test_verification_cannot_reach_a_network() -> None:
    files = reachable("verifier.verify")
    assert ROOT / "content" / "head.py" in files
    assert not {(path.name, name) for path in files for name in tops(path) & NETWORK}


HEAVY = {
    *("sigstore", "oras", "requests", "sqlalchemy", "alembic", "starlette", "jsonschema", "rich", "mnemonic", "yaml"),
    *("jinja2", "segno", "PIL"),
}


def loaded(*args: str) -> set[str]:
    code = (
        "import sys, waybill\n"
        f"sys.argv = ['waybill', *{list(args)!r}]\n"
        "try:\n    waybill.main()\nexcept SystemExit as done:\n    assert not done.code, done.code\n"
        "print('MODULES', *sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.rpartition("MODULES")[2].split())


def test_help_imports_nothing_heavy() -> None:
    found = loaded("--help")
    assert not found & (HEAVY | {"cryptography", "msgspec"})


def test_key_signed_verify_imports_nothing_heavy(tmp_path: Path) -> None:
    from tests.vendor import Vendor

    vendor = Vendor()
    bundle = vendor.write(tmp_path / "small.tar")
    root = tmp_path / "1.root.json"
    root.write_bytes(vendor.root_file())
    found = loaded("verify", str(bundle), "--root", str(root))
    assert "cryptography" in found
    assert not found & (HEAVY | NETWORK - {"urllib", "socket"})


def test_the_table_of_verbs_says_what_the_verbs_say() -> None:
    from importlib import import_module

    from waybill import VERBS

    for verb, (target, line) in VERBS.items():
        module, _, name = target.partition(":")
        command = getattr(import_module(module), name)
        assert command.help, verb
        assert line.endswith("."), verb


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_failure_says_what_to_do_next(path: Path) -> None:
    """Its class does where that is always the same; else the line that raises it does."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            kind = getattr(errors, node.func.id, None)
            if isinstance(kind, type) and issubclass(kind, errors.WaybillError) and not kind.usual:
                assert {one.arg for one in node.keywords} & {"remedy", None}, f"{path}:{node.lineno}"
