"""Stock cosign, where it is on the path, agrees with the text of VERIFY.txt: a good release, and a changed one."""

import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from content.head import VERIFY_TXT
from tests.real import tool
from tests.vendor import RELEASE, SECOND, Vendor


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    """The head of a bundle as a stranger unpacks it, and the release key."""
    bundle = Vendor(signers=(RELEASE,)).write(tmp_path / "BUNDLE.tar")
    with tarfile.open(bundle) as tar:
        tar.extractall(tmp_path, filter="data")
    (tmp_path / "vendor.pub").write_text(RELEASE.public.pem)
    return tmp_path


def script() -> str:
    """The lines about cosign, as they stand in the bundle."""
    text = VERIFY_TXT.decode()
    block = text.partition("or with cosign")[2]
    lines = [line[4:] for line in block.splitlines() if line.startswith("    ")]
    return "\n".join(lines)


def follow(folder: Path) -> "subprocess.CompletedProcess[str]":
    cosign = tool("cosign")
    prefix = ["unshare", "-rn"] if shutil.which("unshare") else []
    environ = {**os.environ, "HOME": str(folder), "PATH": f"{Path(cosign).parent}:{os.environ['PATH']}"}
    command = [*prefix, "sh", "-e", "-c", script()]
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)


def test_a_good_release(unpacked: Path) -> None:
    done = follow(unpacked)
    assert done.returncode == 0, done.stderr
    assert "Verified OK" in done.stderr


def test_a_changed_release(unpacked: Path) -> None:
    release = unpacked / "release.json"
    release.write_bytes(re.sub(rb'"sequence":1', rb'"sequence":2', release.read_bytes()))
    done = follow(unpacked)
    assert done.returncode != 0
    assert "do not match digests in statement" in done.stderr


def test_another_key(unpacked: Path) -> None:
    (unpacked / "vendor.pub").write_text(SECOND.public.pem)
    assert follow(unpacked).returncode != 0
