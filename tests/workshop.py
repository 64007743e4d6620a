"""A vendor's folder on disk, complete and small; change one thing in it to break one thing."""

import json
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bundler.access import Access
from bundler.build import BuildRequest, BuiltBundle, build
from bundler.trust_documents import own_chain
from content.bundle.head import open_head
from content.trust.head import VerifiedHead, verify_head
from manifests.trust.private_keys import FileSigner
from manifests.trust.root import Pin
from manifests.words.progress import Progress
from tests.images import full_layout, sbom, tiny_layout
from tests.vendor import CONTRACT_YAML, RELEASE, Vendor

ROLLBACK = {
    "waybill": 1,
    "class": "stateless",
    "offered_for": "30d",
    "loses": "nothing",
    "recovery": {"rolled-back": ["Nothing to do."], "inconsistent": ["Call somebody."]},
}


def plain_release() -> dict[str, Any]:
    """``release.yaml`` of a release with one file set and nothing else."""
    return {
        "waybill": 1,
        "product": "small",
        "version": "1.0.0",
        "channel": "stable",
        "sequence": 5,
        "issued_at": "2026-11-20T09:00:00Z",
        "audience": {"customers": ["northern-grid"], "environments": ["production"]},
        "needs": {"verifier": "0.1", "trust_root": 1, "fresh": True},
        "floor": 1,
        "files": [{"name": "service", "from": "service/"}],
        "contract": "contract.yaml",
        "rollback": "rollback.yaml",
        "install": [{"step": "service", "driver": "files", "files": ["service"]}],
        "probes": [{"name": "placed", "step": "service"}],
        "trial": {"at_most": "15m", "confirm": "probes"},
    }


@dataclass
class Workshop:
    """Attributes: release, rollback: written as YAML by `save`, which every build calls."""

    path: Path
    release: dict[str, Any] = field(default_factory=plain_release)
    rollback: dict[str, Any] = field(default_factory=lambda: dict(ROLLBACK))
    vendor: Vendor = field(default_factory=Vendor)

    def __post_init__(self) -> None:
        self.write("service/hello.txt", b"hello\n")
        self.write("service/bin/run.py", b"print('hi')\n", executable=True)
        self.write("contract.yaml", CONTRACT_YAML)
        self.write("trust/1.root.json", self.vendor.root_file())

    def write(self, name: str, data: bytes | str, *, executable: bool = False) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        if executable:
            path.chmod(0o755)
        return path

    def save(self) -> Path:
        """Write what people would have written; JSON is a spelling of YAML, one value in a line."""
        self.write("rollback.yaml", json.dumps(self.rollback, indent=1))
        return self.write("release.yaml", json.dumps(self.release, indent=1))

    def image(self, name: str = "app", **changes: Any) -> dict[str, Any]:
        """Add an image to the release; by default the tiny layout ``NAME`` with an SBOM given as a file."""
        spec: dict[str, Any] = {
            "name": name,
            "from": f"oci:dist/{name}",
            "to": f"small/{name}",
            "signed_by": "none",
            "reason": "built here",
            "sbom": "sbom.json",
        } | changes
        self.release.setdefault("images", []).append({key: value for key, value in spec.items() if value is not None})
        install = self.release["install"]
        if install[0]["step"] != "images":
            install.insert(0, {"step": "images", "driver": "store", "images": []})
        install[0]["images"].append(name)
        return spec

    def tiny(self, name: str = "app", version: str = "1.0.0") -> None:
        """An image in a layout of its own, and its SBOM as a file."""
        tiny_layout(self.path / "dist" / name, version)
        self.write("sbom.json", sbom(version))
        self.image(name)

    def full(self, name: str = "app", **changes: Any) -> None:
        """A two-platform index with an SBOM and a cosign signature attached."""
        full_layout(self.path / "dist" / name)
        self.image(name, **({"sbom": "attached"} | changes))

    def build(
        self,
        out: Path | None = None,
        *,
        signers: tuple[FileSigner, ...] = (RELEASE,),
        after: tuple[VerifiedHead, ...] = (),
        kits: tuple[Path, ...] = (),
        source_date_epoch: int | None = None,
        access: Access | None = None,
    ) -> BuiltBundle:
        request = BuildRequest(
            release_yaml=self.save(),
            out=out or self.path / "out",
            chain=own_chain(self.path),
            signers=signers,
            after=after,
            kits=kits,
            source_date_epoch=source_date_epoch,
            access=access or Access(),
        )
        return build(request, lambda _label, _total: nullcontext(Progress()))

    def pin(self) -> Pin:
        return self.vendor.pin()

    def head(self, built: BuiltBundle) -> VerifiedHead:
        return verify_head(open_head(built.path), self.pin())


def earlier(version: str, sequence: int, **changes: Any) -> VerifiedHead:
    """The verified head of a small earlier release."""
    made = Vendor(version=version, sequence=sequence, images=False, **changes)
    return verify_head(made.head(), made.pin())
