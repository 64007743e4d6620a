"""One kit for all tests that need it, made once for each state of the sources."""

import hashlib
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13")


@cache
def kit_file() -> Path:
    """The path of waybill.pyz; skips where the wheels cannot be had."""
    from bundler.kit import PACKAGES, default_wheelhouse, fetch_wheels, required_distributions, write_kit
    from manifests.words.errors import HostError

    hashed = hashlib.sha256()
    packed = (one for room in (*PACKAGES, "bundler") for one in (ROOT / room).rglob("*"))
    for path in sorted(one for one in packed if one.is_file() and "__pycache__" not in one.parts):
        hashed.update(path.read_bytes())
    folder = ROOT / ".cache" / "kits" / hashed.hexdigest()[:16]
    target = folder / "waybill.pyz"
    if not target.exists():
        wheelhouse = default_wheelhouse()
        wheelhouse.mkdir(parents=True, exist_ok=True)
        distributions = required_distributions()
        try:
            fetch_wheels(wheelhouse, distributions)
        except HostError as error:
            pytest.skip(f"package index: {error.problem}")
        (ROOT / ".cache" / "kits").mkdir(parents=True, exist_ok=True)
        kits = sorted((ROOT / ".cache" / "kits").iterdir(), key=lambda one: one.stat().st_mtime)
        for old in kits[:-4]:  # another test process may still use a newer one
            shutil.rmtree(old, ignore_errors=True)
        own = folder.with_name(f"{folder.name}.{os.getpid()}")
        write_kit(own / "waybill.pyz", wheelhouse, distributions)
        try:
            own.rename(folder)
        except OSError:  # another test process was faster
            shutil.rmtree(own)
    return target


def interpreters() -> dict[str, str]:
    """Every Python of this machine that the kit supports: version to path."""
    found = {}
    for version in PYTHONS:
        candidates = [shutil.which(f"python{version}")]
        candidates += [str(one) for one in sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python3"))]
        for path in candidates:
            if path and _is(path, version):
                found[version] = path
                break
    return found


def _is(path: str, version: str) -> bool:
    done = subprocess.run(
        [path, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() == version
