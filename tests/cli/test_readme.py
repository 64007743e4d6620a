"""The commands of the README, run as they are printed, in an empty folder, in their order."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LOOP = README.partition("## The loop")[2].partition("\n## ")[0]
BLOCKS = re.findall(r"```sh\n(.*?)```", LOOP, re.DOTALL)
PORT = 18473


# What the first screen of the README shows: commands, and what they print.
SAMPLES = re.findall(r"^\$ (.*)\n((?:(?!\$|```).*\n)+)", README.partition("## ")[0], re.MULTILINE)
# What stands in capitals, the command that printed it, and how it is found there.
PRINTED = {
    "VENDOR WORDS": ("waybill init", r"((?:[a-z]+ ){23}[a-z]+)$"),
    "SITE WORDS": ("waybill fleet enroll", r"((?:[a-z]+ ){23}[a-z]+)$"),
    "DIGEST": ("waybill approve r-0.1.0", r"--contract (sha256:[0-9a-f]{64})"),
}


def masked(text: str) -> str:
    """``text`` without what differs from run to run: keys, digests, sizes, times."""
    text = re.sub(r"\b[0-9a-f]{12}([0-9a-f]{52})?\b", "HEX", text)
    return re.sub(r"[0-9.]+ (KiB|MiB)|\d{4}-\d\d-\d\dT[0-9:]+Z", "X", text).strip()


def commands(block: str) -> Iterator[str]:
    yield from re.sub(r"\\\n", "", block).splitlines()


@pytest.mark.slow
def test_the_loop_runs_as_it_is_printed(tmp_path: Path) -> None:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", PORT)) == 0:
            pytest.skip(f"port {PORT} is in use")
    folder = tmp_path / "empty"
    folder.mkdir()
    environ = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        **{name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ},
    }
    printed: dict[str, str] = {}
    outputs: dict[str, str] = {}
    assert len(BLOCKS) == 4
    try:
        for block in BLOCKS:
            for line in commands(block):
                if line.startswith("export "):
                    name, _, value = line.removeprefix("export ").partition("=")
                    environ[name] = value.replace("$PWD", str(folder))
                    continue
                typed = line.partition("  #")[0]
                for name, value in printed.items():
                    typed = typed.replace(name, value)
                done = subprocess.run(
                    ["bash", "-c", typed], cwd=folder, env=environ, capture_output=True, text=True, check=False
                )
                assert done.returncode == 0, f"{typed}\n{done.stdout}{done.stderr}"
                outputs[typed.strip()] = done.stdout
                for name, (command, pattern) in PRINTED.items():
                    if typed.startswith(command) and (found := re.search(pattern, done.stdout, re.MULTILINE)):
                        printed.setdefault(name, found[1])
    finally:
        _stop_service(folder / "site")
    for command, sample in SAMPLES:
        assert masked(outputs[command]).startswith(masked(sample)), command


def _stop_service(site: Path) -> None:
    """End the supervisor that keeps the service running, by its own pid."""
    for path in (site / "run").rglob("*.pid"):
        subprocess.run(["kill", path.read_text().strip()], check=False)
