"""The kit: one file, on every Python that this machine has, with no network and none of our packages."""

import hashlib
import html
import io
import json
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.kit import PYTHONS, interpreters, kit_file
from tests.vendor import RELEASE, Vendor

pytestmark = pytest.mark.slow


def run_kit(
    python: str, kit: Path, cache: Path, *words: object, network: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run the kit in an empty environment and, where that can be had, in a namespace without a network."""
    prefix = [] if network or not shutil.which("unshare") else ["unshare", "-rn"]
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(cache.parent), "WAYBILL_CACHE": str(cache)}
    command = [*prefix, python, "-I", str(kit), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environ, cwd=cache.parent)


@pytest.mark.parametrize("version", PYTHONS)
def test_runs_without_a_network(version: str, tmp_path: Path) -> None:
    python = interpreters().get(version)
    if python is None:
        pytest.skip(f"python{version}")
    vendor = Vendor()
    bundle = vendor.write(tmp_path / "small.tar")
    root = tmp_path / "root.json"
    root.write_bytes(vendor.root_file())
    for _ in range(2):  # unpacking, then unpacked
        done = run_kit(python, kit_file(), tmp_path / "cache", "verify", bundle, "--root", root, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["verdict"] == "verified"
    assert run_kit(python, kit_file(), tmp_path / "cache", "keygen", "a.key", "--no-passphrase").returncode == 0
    # Everything that the kit carries can be loaded there: site verbs, drivers, the supervisor, the registry client.
    shown = run_kit(python, kit_file(), tmp_path / "cache", "--help").stdout
    assert "enroll" in shown
    assert "fleet" not in shown
    assert "build" not in shown
    libraries = "jsonschema, oras.provider, requests, rich, supervisor.supervisord, yaml, mnemonic"
    loads = f"import {libraries}, verifier.commands.install"
    folder = next(one for one in (tmp_path / "cache").iterdir() if one.name.endswith("x86_64"))
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); {loads}"
    assert subprocess.run([python, "-I", "-c", code], check=False).returncode == 0


def test_a_release_signed_by_an_identity_is_refused_by_name_or_counted_without_it(tmp_path: Path) -> None:
    """The kit has no sigstore: an identity alone is refused and why; what a key signed as well is good (F-7.17)."""
    pytest.importorskip("sigstore", reason="sigstore is not installed")
    from tests.keyless import IdentityVendor

    python = next(iter(interpreters().values()), None)
    if python is None:
        pytest.skip("no Python of the kit")
    ends = {}
    for name, vendor in (("alone", IdentityVendor()), ("beside", IdentityVendor(signers=(RELEASE,)))):
        bundle = vendor.write(tmp_path / f"{name}.tar")
        root = tmp_path / f"{name}.json"
        root.write_bytes(vendor.root_file())
        done = run_kit(python, kit_file(), tmp_path / "cache", "verify", bundle, "--root", root, "--json")
        ends[name] = (done.returncode, (json.loads(done.stdout).get("error") or {}).get("finding"))
    assert ends == {"alone": (5, "signature-keyless-unavailable"), "beside": (0, None)}


def test_the_paper_is_followed_at_the_site(tmp_path: Path) -> None:
    """Compare the digest of the kit with the paper, then type what the paper says: the kit makes the site."""
    python = next(iter(interpreters().values()))
    vendor, medium = Vendor(), tmp_path / "medium"
    medium.mkdir()
    shutil.copy(kit_file(), medium)
    vendor.write(medium / "small-1.0.0.tar")
    (tmp_path / "root.json").write_bytes(vendor.root_file())
    words = ("show", tmp_path / "root.json", "--page", tmp_path / "paper.html", "--kit", kit_file())
    assert run_kit(python, kit_file(), tmp_path / "cache", *words).returncode == 0
    assert run_kit(python, kit_file(), tmp_path / "cache", "keygen", "ops-1.key", "--no-passphrase").returncode == 0
    paper = (tmp_path / "paper.html").read_text()
    sum_line, *enroll_lines = (html.unescape(one) for one in re.findall(r'<p class="command">(.*?)</p>', paper))
    digest = "".join(re.findall(r"<dd>([0-9a-f]{32})</dd>", paper))
    assert shell(sum_line, tmp_path).split()[0] == digest
    shell("\n".join(enroll_lines).replace("python3", python), tmp_path)
    shown = run_kit(python, kit_file(), tmp_path / "cache", "status", "--site", tmp_path / "east", "--json")
    assert json.loads(shown.stdout)["site"] == "northern-grid/small/production/east"


def shell(line: str, folder: Path) -> str:
    """Run a line of the paper with its names filled in; what it prints."""
    filled = {
        "MEDIUM": "medium",
        "CUSTOMER": "northern-grid",
        "ENVIRONMENT": "production",
        "NAME": "east",
        "ROLE:PERSON=FILE": "operator:ops-1=ops-1.pub",
    }
    for capitals, value in filled.items():
        line = line.replace(capitals, value)
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "WAYBILL_CACHE": str(folder / "cache")}
    done = subprocess.run(["bash", "-euc", line], capture_output=True, text=True, check=False, env=environ, cwd=folder)
    assert done.returncode == 0, line + done.stderr
    return done.stdout


def test_is_the_same_file_when_made_again(tmp_path: Path) -> None:
    from bundler.kit import default_wheelhouse, required_distributions, write_kit

    first = kit_file().read_bytes()
    again = write_kit(tmp_path / "waybill.pyz", default_wheelhouse(), required_distributions())
    assert again.digest == "sha256:" + hashlib.sha256(first).hexdigest()
    assert again.digest.removeprefix("sha256:") in (tmp_path / "README.txt").read_text()


def test_holds_no_bundler_and_no_fleet() -> None:
    with zipfile.ZipFile(kit_file()) as kit:
        names = kit.namelist()
        inner = zipfile.ZipFile(io.BytesIO(kit.read("parts/waybill.zip"))).namelist()
    rooms = {name.split("/")[0] for name in inner}
    assert rooms == {"console", "manifests", "content", "verifier", "waybill.py", "airgap_waybill-0.1.0.dist-info"}
    assert not [name for name in names if "sigstore" in name or "sqlalchemy" in name.lower()]


def test_a_damaged_part_is_refused(tmp_path: Path) -> None:
    python = next(iter(interpreters().values()))
    data = bytearray(kit_file().read_bytes())
    with zipfile.ZipFile(kit_file()) as kit:
        part = kit.getinfo("parts/waybill.zip")
    # Behind its local header of 30 bytes and a name; a part for another Python would not be read.
    data[part.header_offset + 30 + len(part.filename) + part.compress_size // 2] ^= 1
    bad = tmp_path / "bad.pyz"
    bad.write_bytes(data)
    done = run_kit(python, bad, tmp_path / "cache", "--help")
    assert done.returncode != 0
    assert not [one for one in (tmp_path / "cache").glob("*") if not one.name.startswith("new-")]


def test_a_cache_that_others_can_write_is_not_used(tmp_path: Path) -> None:
    python = next(iter(interpreters().values()))
    cache = tmp_path / "cache"
    assert run_kit(python, kit_file(), cache, "--help").returncode == 0
    (folder,) = cache.iterdir()
    folder.chmod(0o777)
    (folder / "waybill.py").write_text("raise SystemExit('somebody else was here')")
    done = run_kit(python, kit_file(), cache, "--help")
    assert "somebody else" not in done.stdout + done.stderr


def test_an_old_python_is_told_what_is_needed(tmp_path: Path) -> None:
    old = next(iter(sorted(Path.home().glob(".pyenv/versions/3.[0-9].*/bin/python3"))), None)
    if old is None:
        pytest.skip("a Python older than 3.10")
    done = run_kit(str(old), kit_file(), tmp_path / "cache", "--help", network=True)
    assert done.returncode == 6
    assert "the kit needs CPython 3.11, 3.12, 3.13" in done.stderr
