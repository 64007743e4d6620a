"""A site's folder with a filled store, as the install machinery hands it to a driver."""

import socket
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from content.bundle.head import VERIFY_TXT
from manifests.documents.release import InstallStep, Release
from manifests.words.digest import blob_name, digest_of
from tests.vendor import Vendor
from verifier.runtime.drivers.driver import Driver, DriverContext, DriverPlan
from verifier.site.disk import Disk

# Answers its version, its own number and its folder; `fate` in the configuration makes it fail in a chosen way.
SERVICE = b"""\
import http.server, json, os, pathlib, signal, subprocess, sys
config = json.loads(pathlib.Path(os.environ["WAYBILL_CONFIG"]).read_text())
if config.get("fate") == "exit":
    sys.exit("this configuration is not for me")
if config.get("fate") == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if config.get("fate") == "child":
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
pathlib.Path(os.environ["WAYBILL_DATA"], "starts").open("a").write("x")

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        said = {"version": os.environ["WAYBILL_VERSION"], "pid": os.getpid(), "cwd": os.getcwd(), "argv": sys.argv[1:]}
        data = json.dumps({**said, "environment": dict(os.environ)}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass

http.server.HTTPServer.allow_reuse_address = True
server = http.server.HTTPServer(("127.0.0.1", config["port"]), Answer)
server.serve_forever()
"""


def release_of(vendor: Vendor, *steps: InstallStep) -> tuple[Release, dict[str, bytes]]:
    """The vendor's release with these steps, and everything its store holds."""
    release, blobs, index = vendor.release()
    everything = {**blobs, digest_of(index): index, digest_of(VERIFY_TXT): VERIFY_TXT}
    return (msgspec.structs.replace(release, install=steps) if steps else release), everything


@dataclass
class Site:
    """Attributes: settings: of the driver under test."""

    folder: Path
    settings: dict[str, object] = field(default_factory=dict)
    disk: Disk = field(default_factory=Disk)

    @property
    def blobs(self) -> Path:
        return self.folder / "store" / "blobs" / "sha256"

    def fill(self, blobs: dict[str, bytes]) -> None:
        self.blobs.mkdir(parents=True, exist_ok=True)
        for digest, data in blobs.items():
            path = self.folder / "store" / blob_name(digest)
            if not path.exists():
                path.write_bytes(data)
                path.chmod(0o444)

    def context(
        self, vendor: Vendor, generation: int, *steps: InstallStep, config: bytes | None = None
    ) -> DriverContext:
        release, blobs = release_of(vendor, *steps)
        self.fill(blobs)
        return DriverContext(
            site=self.folder,
            release=release,
            generation=generation,
            blobs=self.blobs,
            settings=self.settings,
            config=config,
            disk=self.disk,
        )


@dataclass
class Turn:
    """One step of one generation in the hands of a driver."""

    driver: Driver
    context: DriverContext
    step: InstallStep

    @property
    def plan(self) -> DriverPlan:
        return self.driver.plan(self.step, self.context)

    def stage(self) -> "Turn":
        self.driver.stage(self.plan, self.context)
        return self

    def activate(self) -> "Turn":
        self.driver.activate(self.plan, self.context)
        return self

    def deactivate(self) -> "Turn":
        self.driver.deactivate(self.plan, self.context)
        return self

    def problems(self, *, thorough: bool = False) -> list[str]:
        context = replace(self.context, thorough=thorough)
        return [one.problem for one in self.driver.observe(self.plan, context) if one.problem]

    def observed(self) -> list[str]:
        return [one.observed for one in self.driver.observe(self.plan, self.context)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def service_settings() -> dict[str, object]:
    return {"keeper": "supervisord", "programs": {"python3": sys.executable}}
