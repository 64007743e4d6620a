"""Write the kit: the verifier and all that it needs in one file, which runs from a medium without a network.

A zip that Python can run: our packages in `PACKAGES` and the wheels of what they import, for each supported Python and
machine. The same sources and the same wheels give the same bytes.
"""

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path

from packaging.requirements import Requirement

from content.signing.files import replace_file
from manifests.words.errors import HostError, RefusedError

PYTHONS = ("3.11", "3.12", "3.13")
MACHINES = ("x86_64", "aarch64")
PACKAGES = ("console", "manifests", "content", "verifier")
DISTRIBUTION = "airgap-waybill"
# The oldest C library that cryptography still builds for comes first, so that old sites are served.
PLATFORMS = ("manylinux2014", "manylinux_2_17", "manylinux_2_28")
_EPOCH = (1980, 1, 1, 0, 0, 0)

README = """\
Waybill: the verifier for sites without a network.

    python3 {name} --help

needs Python 3.11, 3.12 or 3.13 (x86_64 or aarch64 Linux) and nothing else. On
its first run it unpacks itself into ~/.cache/waybill (or $WAYBILL_CACHE).

Before the first run, compare its digest with the vendor's paper:

    sha256sum {name}
    {digest}

A digest that you only read here proves nothing: whoever changed the program
could have changed this text too.

Then:

    python3 {name} enroll MEDIUM --fingerprint "WORDS FROM THE PAPER" ...
    python3 {name} receive MEDIUM
    python3 {name} review
"""


@dataclass(frozen=True)
class Kit:
    path: Path
    digest: str
    size: int
    targets: tuple[str, ...]


def required_distributions() -> tuple[str, ...]:
    """``name==version`` of everything that our packages need at a site, as installed here."""
    versions: dict[str, str] = {}
    queue = [DISTRIBUTION]
    while queue:
        name = queue.pop()
        for line in metadata.requires(name) or []:
            requirement = Requirement(line)
            key = re.sub(r"[-_.]+", "-", requirement.name).lower()
            # Python 3.11 is the oldest: what it needs is a superset of what the newer ones need.
            environment = {"extra": "", "python_version": "3.11", "python_full_version": "3.11.0"}
            if key in versions or (requirement.marker and not requirement.marker.evaluate(environment)):
                continue
            try:
                versions[key] = metadata.version(requirement.name)
            except metadata.PackageNotFoundError:
                problem = f"{requirement.name} is not installed here, and the kit needs it"
                raise HostError(problem, where="kit", remedy=f"pip install {requirement.name}") from None
            queue.append(requirement.name)
    return tuple(f"{name}=={version}" for name, version in sorted(versions.items()))


def fetch_wheels(wheelhouse: Path, distributions: tuple[str, ...]) -> None:
    """Download the wheels of every target into ``wheelhouse``; the only step that needs the package index."""
    running = []
    for python in PYTHONS:
        for machine in MACHINES:
            platforms = [argument for name in PLATFORMS for argument in ("--platform", f"{name}_{machine}")]
            command = [
                sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                "--only-binary=:all:", "--implementation", "cp", "--python-version", python, *platforms,
                "--dest", str(wheelhouse), *distributions,
            ]  # fmt: skip
            running.append((python, machine, command))
    for python, machine, command in running:
        finished = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if finished.returncode:
            lines = [line for line in finished.stderr.splitlines() if line.startswith("ERROR")]
            lines = lines or [finished.stderr.strip()]
            problem = f"no wheels for Python {python} on {machine}: {lines[-1].removeprefix('ERROR: ')[:300]}"
            remedy = "connect to the package index once, or name a folder of wheels: --wheels DIR"
            raise HostError(problem, where="kit", remedy=remedy)


def check_new(target: Path) -> None:
    if target.exists():
        raise RefusedError("exists already", where=str(target), remedy="choose another folder", finding="exists")


def write_kit(target: Path, wheelhouse: Path, distributions: tuple[str, ...]) -> Kit:
    """Write the kit and README.txt beside it. Raises RefusedError when it exists, HostError when a wheel is missing."""
    check_new(target)
    parts = {"parts/waybill.zip": _own_code()}
    targets: dict[str, dict[str, str]] = {}
    for python in PYTHONS:
        for machine in MACHINES:
            chosen = {f"parts/{wheel.name}": wheel for wheel in _choose(wheelhouse, distributions, python, machine)}
            parts |= {name: wheel.read_bytes() for name, wheel in chosen.items() if name not in parts}
            names = ["parts/waybill.zip", *chosen]
            targets[f"{python}-{machine}"] = {name: hashlib.sha256(parts[name]).hexdigest() for name in names}
    loader = (resources.files("bundler") / "loader" / "__main__.py").read_bytes()
    listing = json.dumps({"targets": targets}, sort_keys=True, indent=1).encode()
    packed = _zip({"__main__.py": loader, "kit.json": listing, **parts}, compress=False)
    data = b"#!/usr/bin/env python3\n" + packed
    target.parent.mkdir(parents=True, exist_ok=True)
    replace_file(target, data)
    target.chmod(0o755)
    digest = hashlib.sha256(data).hexdigest()
    replace_file(target.with_name("README.txt"), README.format(name=target.name, digest=digest).encode())
    return Kit(path=target, digest=f"sha256:{digest}", size=len(data), targets=tuple(targets))


def _choose(wheelhouse: Path, distributions: tuple[str, ...], python: str, machine: str) -> Iterator[Path]:
    """For each distribution the best wheel of this target: the most specific ABI, the oldest C library."""
    from packaging.utils import parse_wheel_filename

    ranked: dict[str, list[tuple[tuple[int, ...], Path]]] = {}
    for wheel in sorted(wheelhouse.glob("*.whl")):
        name, version, _, tags = parse_wheel_filename(wheel.name)
        ranks = [rank for tag in tags if (rank := _rank(str(tag), python, machine)) is not None]
        if ranks:
            ranked.setdefault(f"{name}=={version}", []).append((min(ranks), wheel))
    for distribution in distributions:
        wheels = ranked.get(distribution)
        if not wheels:
            problem = f"no wheel of {distribution} for Python {python} on {machine}"
            remedy = "download it with `pip download` for that platform, or leave out --wheels"
            raise HostError(problem, where=str(wheelhouse), remedy=remedy)
        yield min(wheels)[1]


def _rank(tag: str, python: str, machine: str) -> tuple[int, ...] | None:
    """Lower is better; None when the wheel does not run there."""
    interpreter, abi, platform = tag.split("-")
    ours = "cp" + python.replace(".", "")
    if platform == "any":
        return (2, 0) if abi == "none" and interpreter in ("py3", "py2.py3", ours) else None
    match = re.fullmatch(rf"manylinux(?:2014|_2_(\d+))_{machine}", platform)
    if match is None or int(match[1] or 17) > 28:
        return None
    libc = int(match[1] or 17)
    if abi == "abi3" and interpreter.startswith("cp3") and int(interpreter[3:]) <= int(ours[3:]):
        return (1, libc, -int(interpreter[3:]))
    return (0, libc, 0) if (interpreter, abi) == (ours, ours) else None


def _own_code() -> bytes:
    """Our packages and ``waybill.py`` as one zip, with the metadata that `--version` reads."""
    files: dict[str, bytes] = {}
    for package in PACKAGES:
        top = resources.files(package)
        with resources.as_file(top) as folder:
            for path in sorted(folder.rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    files[f"{package}/{path.relative_to(folder)}"] = path.read_bytes()
    import waybill

    files["waybill.py"] = Path(waybill.__file__).read_bytes()
    version = metadata.version(DISTRIBUTION)
    info = f"Metadata-Version: 2.1\nName: {DISTRIBUTION}\nVersion: {version}\n"
    files[f"airgap_waybill-{version}.dist-info/METADATA"] = info.encode()
    return _zip(files, compress=True)


def _zip(files: dict[str, bytes], *, compress: bool) -> bytes:
    """A zip whose bytes depend on the files alone."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED) as packed:
        for name, data in sorted(files.items()):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.external_attr = 0o644 << 16
            info.create_system = 3
            info.compress_type = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
            packed.writestr(info, data)
    return out.getvalue()


def default_wheelhouse() -> Path:
    """The folder that keeps downloaded wheels between kits."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "waybill-wheels"
