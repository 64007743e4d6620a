"""Install into a registry, against crane or skopeo that push the same layout to the same registry."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from manifests.trust.envelope_writer import encode_root
from manifests.trust.root import parse_root
from manifests.words.digest import digest_of
from tests.bench.payload import ROOT, vendor_folder
from tests.real import RunningRegistry


def registry_vendor(folder: Path, size: int) -> Path:
    """A vendor folder whose release has one image of nine layers for the registry driver, and nothing else."""
    vendor_folder(folder, size, layers=9)
    path = folder / "release.yaml"
    text = path.read_text()
    text = text.replace("\nfiles:", "\n# files:").replace("\n  - {name: service, from: service/}", "")
    text = re.sub(r"\ninstall:.*\nprobes:.*\ntrial:", _STEPS, text, flags=re.DOTALL)
    path.write_text(text)
    return folder


_STEPS = """
install:
  - {step: images, driver: registry, images: [app]}
probes:
  - {name: answers, step: images, every: 1s, passes: 1}
trial:"""


class RegistryBench:
    """A site that has approved the release, and the registry that its site.yaml names; both as new for every run."""

    def __init__(self, folder: Path, vendor: Path, bundle: Path, registry: RunningRegistry) -> None:
        self._layout = vendor / "layout"
        self._bundle = bundle
        self._registry = registry
        self._approved, self.site = folder / "approved", folder / "site"
        self.contract = self._approve(vendor, folder / "ops.key")

    def renew(self) -> None:
        """An empty registry, a site that has installed nothing, and everything that is read in the page cache."""
        self._registry.stop()
        shutil.rmtree(self._registry.root)
        self._registry.root.mkdir()
        shutil.rmtree(self.site, ignore_errors=True)
        shutil.copytree(self._approved, self.site, symlinks=True)
        self._registry.start()
        for path in (self._bundle, *(self._layout / "blobs" / "sha256").iterdir()):
            subprocess.run(["cat", str(path)], check=True, stdout=subprocess.DEVNULL)

    def install(self) -> list[str]:
        return ["install", "r-0.1.0", "--contract", self.contract, "--site", str(self.site)]

    def yardstick(self) -> tuple[str, str, list[str]]:
        """Name, bar and command of the public tool; crane where it is installed."""
        target = f"{self._registry.host}/bench/app:0.1.0"
        if shutil.which("crane"):
            return "crane push", "<= 1.1", ["crane", "push", "--insecure", str(self._layout), target]
        words = [
            "skopeo",
            "copy",
            "--quiet",
            "--dest-tls-verify=false",
            f"oci:{self._layout}:app",
            f"docker://{target}",
        ]
        return "skopeo copy", "<= 0.6", words

    def _approve(self, vendor: Path, key: Path) -> str:
        """Enrol, receive and approve; return the digest of the contract."""
        root = parse_root((vendor / "trust" / "1.root.json").read_bytes(), "root").root
        _waybill("keygen", key, "--no-passphrase")
        names = ("--customer", "first-customer", "--product", "bench", "--environment", "production", "--name", "east")
        people = ("--person", f"ops={key.with_suffix('.pub')}", "--practice")
        site = ("--site", self._approved)
        _waybill("enroll", self._bundle, "--fingerprint", digest_of(encode_root(root)), *names, *people, *site)
        yaml = self._approved / "site.yaml"
        drivers = f"  registry: {{endpoint: '{self._registry.host}', plain_http: true}}"
        yaml.write_text(
            re.sub(r"(?m)^  # registry:.*$", drivers, yaml.read_text()).replace("port: FILL-IN", "port: 18473")
        )
        _waybill("receive", self._bundle, *site)
        approved = _waybill("approve", "r-0.1.0", "--key", key, *site)
        found = re.search(r"--contract (sha256:[0-9a-f]{64})", approved)
        if found is None:
            raise SystemExit(f"`waybill approve` names no contract: {approved}")
        return found[1]


def _waybill(*words: object) -> str:
    command = [sys.executable, "-m", "waybill", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
