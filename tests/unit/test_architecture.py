"""Packages, rooms and arrows: who may import whom, who may open a socket, and what a command loads."""

import ast
import subprocess
import sys
from collections import Counter
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from manifests.words import errors
from tests.rooms import INNER_ROOMS, PACKAGES, ROOMS, room_of

ROOT = Path(__file__).parents[2]
NETWORK = {"socket", "ssl", "http", "urllib", "requests", "httpx", "oras", "xmlrpc", "supervisor", "asyncio"}
# Sockets only in the registry client, the bundler, drivers, probes, collectors, and the ledger.
MAY_REACH = (
    *("content/registry/", "bundler/", "fleet/ledger/"),
    *("verifier/runtime/drivers/", "verifier/runtime/probes/", "verifier/collecting/"),
    # Asks the cluster of the kubeconfig that site.yaml names.
    "verifier/runtime/kubernetes/",
    # Asks endpoints that site.yaml names; nothing else of the looks opens a socket.
    "verifier/runtime/preflight/ask.py",
)
FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
MAX_CHAIN = 6


def name_of(path: Path) -> str:
    """The dotted module name of a file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES}


@cache
def imported(path: Path) -> frozenset[str]:
    """Dotted names of everything that a file imports, at any depth of its code."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def tops(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


@cache
def ours(module: str) -> frozenset[str]:
    """Modules of ours that ``module`` imports, imports inside functions included."""
    names = {name if name in MODULES else name.rpartition(".")[0] for name in imported(MODULES[module])}
    return frozenset(name for name in names if name in MODULES and name != module)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_packages_import_only_packages_below_them(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    assert not tops(path) & set(PACKAGES) - PACKAGES[package] - {package}
    if not str(path.relative_to(ROOT)).startswith(MAY_REACH):
        assert not tops(path) & NETWORK


@pytest.mark.parametrize("package", ROOMS)
def test_rooms_are_the_folders(package: str) -> None:
    folders = {path.name for path in (ROOT / package).iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert folders == set(ROOMS[package])
    assert [path.name for path in (ROOT / package).glob("*.py")] == ["__init__.py"]


@pytest.mark.parametrize("module", MODULES)
def test_a_room_imports_only_rooms_before_it(module: str) -> None:
    package = module.split(".")[0]
    if package not in ROOMS or module == package:
        return
    order = list(ROOMS[package])
    mine = order.index(room_of(module))
    later = {name for name in ours(module) if name.startswith(f"{package}.") and order.index(room_of(name)) > mine}
    assert not later


@pytest.mark.parametrize("module", MODULES)
def test_only_commands_import_the_console(module: str) -> None:
    if any(name.startswith("console") for name in ours(module)):
        assert module.startswith("console") or ".commands." in module


def test_no_circle_of_files() -> None:
    state: dict[str, int] = {}

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert state.get(module) != 1, " > ".join((*way, module))
        if module in state:
            return
        state[module] = 1
        for name in ours(module):
            visit(name, (*way, module))
        state[module] = 2

    for module in MODULES:
        visit(module, ())


def folder_of(module: str) -> str:
    """The room of a module, or the room inside a room."""
    return next((room for room in INNER_ROOMS if module.startswith(f"{room}.")), ".".join(module.split(".")[:2]))


@cache
def chain(module: str) -> tuple[str, ...]:
    """The longest chain of imports from ``module`` that stays in its room."""
    inside = [name for name in ours(module) if folder_of(name) == folder_of(module)]
    return (module, *max((chain(name) for name in inside), key=len, default=()))


@pytest.mark.parametrize("package", ROOMS)
def test_chains_of_imports_inside_a_room_are_short(package: str) -> None:
    longest = max((chain(module) for module in MODULES if module.startswith(f"{package}.")), key=len)
    assert len(longest) <= MAX_CHAIN, " > ".join(longest)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_click_only_in_command_lines(path: Path) -> None:
    if path.parent.name not in ("commands", "console"):
        assert "click" not in tops(path)


def reachable(start: str) -> set[str]:
    """Modules of ours that importing ``start`` can load, function bodies included."""
    seen: set[str] = set()
    queue = [start]
    while queue:
        module = queue.pop()
        if module not in seen:
            seen.add(module)
            queue += ours(module)
    return seen


def test_verification_cannot_reach_a_network() -> None:
    modules = reachable("verifier.trust.bundle")
    assert "content.trust.head" in modules
    assert not {(module, name) for module in modules for name in tops(MODULES[module]) & NETWORK}


HEAVY = {
    *("sigstore", "oras", "requests", "sqlalchemy", "alembic", "starlette", "jsonschema", "rich", "mnemonic", "yaml"),
    *("jinja2", "segno", "PIL"),
}


def loaded(*args: str) -> set[str]:
    code = (
        "import sys, waybill\n"
        f"sys.argv = ['waybill', *{list(args)!r}]\n"
        "try:\n    waybill.main()\nexcept SystemExit as done:\n    assert not done.code, done.code\n"
        "print('MODULES', *sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.rpartition("MODULES")[2].split())


def test_help_imports_nothing_heavy() -> None:
    libraries = {name.split(".")[0] for name in loaded("--help")}
    assert not libraries & (HEAVY | {"cryptography", "msgspec"})


def test_key_signed_verify_imports_nothing_heavy(tmp_path: Path) -> None:
    from tests.vendor import Vendor

    vendor = Vendor()
    bundle = vendor.write(tmp_path / "small.tar")
    root = tmp_path / "1.root.json"
    root.write_bytes(vendor.root_file())
    libraries = {name.split(".")[0] for name in loaded("verify", str(bundle), "--root", str(root))}
    assert "cryptography" in libraries
    assert not libraries & (HEAVY | NETWORK - {"urllib", "socket"})


# Rooms and modules of ours that plan, change or write. A status needs them only where something waits or is unfinished.
NOT_FOR_STATUS = (
    *("verifier.approval.items", "verifier.approval.verdicts", "verifier.approval.policy_change", "verifier.install"),
    *("verifier.change.install_plan", "verifier.change.rollback_plan", "verifier.change.recovery"),
    *(
        "verifier.change.forecast",
        "verifier.change.data_return",
        "verifier.runtime.sandbox",
        "verifier.handlers.program",
    ),
    *("verifier.runtime.migrations", "verifier.reporting.report_write", "verifier.collecting", "content.telemetry"),
    *("content.signing", "content.differences", "content.bundle.bulk", "content.sigstore", "verifier.rules.agreement"),
)


def test_status_imports_nothing_heavy_where_nothing_waits(tmp_path: Path) -> None:
    """The YAML reader is needed: site.yaml and policy.yaml are proposals that may have changed."""
    from tests.place import make_place
    from tests.vendor import Vendor

    vendor = Vendor()
    place = make_place(tmp_path, vendor)
    ended = place.bring(vendor.write(tmp_path / "small.tar"))
    assert ended.error is None
    modules = loaded("status", "--json", "--site", str(place.path))
    assert "verifier.reporting.status" in modules
    assert not {name.split(".")[0] for name in modules} & (HEAVY - {"yaml"} | NETWORK - {"urllib", "socket"})
    assert not {name for name in modules if name.startswith(NOT_FOR_STATUS)}


def test_the_table_of_commands_names_commands() -> None:
    from waybill import COMMANDS

    for name, (target, line) in COMMANDS.items():
        module, _, attribute = target.partition(":")
        command = getattr(import_module(module), attribute)
        assert command.help, name
        assert line.endswith("."), name


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_failure_says_what_to_do_next(path: Path) -> None:
    """Its class does where that is always the same; else the line that raises it does."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            kind = getattr(errors, node.func.id, None)
            if isinstance(kind, type) and issubclass(kind, errors.WaybillError) and not kind.usual:
                assert {keyword.arg for keyword in node.keywords} & {"remedy", None}, f"{path}:{node.lineno}"


def test_packages_are_counted() -> None:
    """Each package has files, so that no test above passes because it looked at none."""
    counted = Counter(path.relative_to(ROOT).parts[0] for path in FILES)
    assert all(counted[package] > 3 for package in PACKAGES)
