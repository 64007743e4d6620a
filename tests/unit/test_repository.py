"""What must never be in the repository: private keys, secrets, one machine's paths."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Each is put together here, so that this file does not hold what it looks for.
FORBIDDEN = {
    "a private key": re.compile(rb"-----BEGIN [A-Z ]*PRIVATE " + rb"KEY-----\s+[A-Za-z0-9+/=\s]{64,}"),
    "a cloud access key": re.compile(rb"\bAK" + rb"IA[0-9A-Z]{16}\b"),
    "a forge's token": re.compile(rb"\bgh[pousr]_" + rb"[A-Za-z0-9]{36}\b"),
    "a path of one machine": re.compile(rb"(?<![\w.])/(?:work|tmp/wb|home/[a-z]+|Us" + rb"ers/[a-z]+)/"),
}


def tracked() -> list[Path]:
    try:
        done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs git")
    if done.returncode:
        pytest.skip("needs a git checkout")
    return [ROOT / name for name in done.stdout.decode().split("\0") if name]


def test_nothing_that_is_nobody_elses_business() -> None:
    files = [path for path in tracked() if path.is_file()]
    assert len(files) > 300
    found = [
        f"{path.relative_to(ROOT)}: {what}"
        for path in files
        for what, pattern in FORBIDDEN.items()
        if pattern.search(path.read_bytes())
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        b"-----BEGIN EC PRIVATE " + b"KEY-----\n" + b"A" * 64,
        b"key = AK" + b"IA" + b"A" * 16,
        b"gh" + b"p_" + b"a" * 36,
        b"see /wo" + b"rk/main",
    ],
)
def test_what_it_looks_for_is_found(text: bytes) -> None:
    assert any(pattern.search(text) for pattern in FORBIDDEN.values())
