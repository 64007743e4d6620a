"""Verify opens no socket, counted by the kernel; and works in a namespace that has no network."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.real import tool
from tests.vendor import Vendor

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bundle(tmp_path: Path) -> tuple[Path, Path]:
    vendor = Vendor()
    root = tmp_path / "root.json"
    root.write_bytes(vendor.root_file())
    return vendor.write(tmp_path / "small.tar"), root


def test_verify_makes_no_network_call_at_all(bundle: tuple[Path, Path], tmp_path: Path) -> None:
    strace = tool("strace")
    path, root = bundle
    trace = tmp_path / "trace"
    command = [sys.executable, "-m", "waybill", "verify", str(path), "--root", str(root)]
    watched = [strace, "-f", "-qq", "-e", "trace=network", "-o", str(trace), *command]
    done = subprocess.run(watched, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert trace.read_text() == ""
    # The counter counts: a program that opens a socket is seen.
    seen = [
        strace,
        "-f",
        "-qq",
        "-e",
        "trace=network",
        "-o",
        str(trace),
        sys.executable,
        "-c",
        "import socket; socket.socket()",
    ]
    subprocess.run(seen, check=True)
    assert "socket(" in trace.read_text()


def test_verify_in_a_namespace_without_a_network(bundle: tuple[Path, Path]) -> None:
    unshare = tool("unshare")
    path, root = bundle
    command = [unshare, "-rn", sys.executable, "-m", "waybill", "verify", str(path), "--root", str(root)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
