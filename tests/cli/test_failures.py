"""Ten common failures, each caused for real at a real site: the report alone tells support the cause.

Nothing here writes into a report. The program writes it, a fresh ledger imports it, and `fleet show` names the cause.
"""

import http.server
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from manifests.documents import release as r
from manifests.words.digest import digest_of
from tests.real import RunningRegistry, docker_registry, free_port
from tests.shop_site import stop
from tests.vendor import Vendor
from tests.waybill import NO_STATE, ROOT, Done, waybill

SITE_ID = "northern-grid/small/production/east"
REGISTRY = r.InstallStep(step="images", driver="registry", images=("api",))
FILES = r.InstallStep(step="app", driver="files", files=("service",))
UP = r.Probe(name="up", http=r.HttpProbe(endpoint="api", path="/", status=200))
TRIAL = r.Trial(at_most_seconds=4, confirm="probes")


def ok(done: Done, *codes: int) -> Done:
    assert done.code in (codes or (0,)), done
    return done


def release(version: str = "1.0.0", sequence: int = 1, **change: object) -> Vendor:
    return Vendor(version=version, sequence=sequence, practice=True, change={"trial": TRIAL, **change})


@dataclass
class Customer:
    """A site of its own folder, one operator, and the media that went there."""

    folder: Path
    media: list[Path]
    site: Path

    @property
    def key(self) -> Path:
        return self.folder / "me.key"

    def run(self, *words: object, code: int = 0) -> Done:
        return ok(waybill(*words, "--site", self.site), code)

    def settings(self, *changes: tuple[str, str]) -> None:
        """Edit ``site.yaml``: exact replacements."""
        path = self.site / "site.yaml"
        text = path.read_text()
        for old, new in changes:
            assert re.search(old, text), (old, text)
            text = re.sub(old, new.replace("\\", r"\\"), text, count=1)
        path.write_text(text)

    def install(self, item: str, code: int = 0) -> Done:
        review = self.run("review", item, "--json").json
        self.run("approve", item, "--key", self.key)
        words = ["--contract", review["contract"]] if review.get("contract") and item == "r-1.0.0" else []
        return self.run("install", item, *words, code=code)

    def bring(self, vendor: Vendor, code: int = 0) -> Done:
        path = vendor.write(self.folder / f"b{vendor.sequence}.tar")
        self.media.append(path)
        self.run("receive", path)
        return self.install(f"r-{vendor.version}", code)

    def diagnoses(self, name: str = "ledger") -> dict[str, str]:
        """Write a report, carry it, import it into a fresh ledger; what `fleet show` says, by id."""
        medium, fleet = self.folder / f"{name}-medium", self.folder / name
        medium.mkdir()
        enrolment = shutil.copy(self.site / "outbox/enrolment.json", self.folder / f"{name}-enrolment.json")
        ok(waybill("report", "--new", "--out", medium, "--site", self.site), 0, 14)
        ok(waybill("fleet", "enroll", enrolment, "--fleet", fleet))
        ok(waybill("fleet", "import", medium, *self.media, "--fleet", fleet), 0, 14)
        page = ok(waybill("fleet", "show", SITE_ID, "--json", "--fleet", fleet)).json
        text = ok(waybill("fleet", "show", SITE_ID, "--fleet", fleet)).out
        named: dict[str, str] = {row["id"]: row["text"] for row in page["diagnoses"]}
        lines = text.splitlines()
        # Right after the line of the site, before everything else.
        assert [line.removeprefix("! ") for line in lines[1 : 1 + len(named)]] == [
            row["text"] for row in page["diagnoses"]
        ]
        return named


def enrolled(folder: Path, vendor: Vendor, *changes: tuple[str, str], site: Path | None = None) -> Customer:
    folder.mkdir(parents=True, exist_ok=True)
    customer = Customer(folder, [], site or folder / "site")
    bundle = vendor.write(folder / "b1.tar")
    ok(waybill("keygen", customer.key, "--no-passphrase"))
    names = ["--customer", "northern-grid", "--product", "small", "--environment", "production", "--name", "east"]
    person = ["--person", f"me={customer.key.with_suffix('.pub')}", "--practice", "--site", customer.site]
    ok(waybill("enroll", bundle, "--fingerprint", vendor.pin().digest, *names, *person))
    customer.settings(*changes)
    return customer


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers 200, or 503 at every second request where the server alternates."""

    def do_GET(self) -> None:  # the name that the library calls
        server: Any = self.server
        server.asked += 1
        self.send_response(503 if server.sick or (server.alternates and server.asked % 2 == 0) else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@contextmanager
def serving(*, context: ssl.SSLContext | None = None) -> Iterator[Any]:
    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.asked, server.sick, server.alternates = 0, False, False
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def api(port: int, scheme: str = "http", host: str = "127.0.0.1") -> tuple[str, str]:
    return r"(?m)^endpoints:.*$", f'endpoints: {{api: "{scheme}://{host}:{port}"}}'


def no_probes(folder: Path) -> Customer:
    """A healthy site, whose release has no probe."""
    vendor = release()
    customer = enrolled(folder, vendor)
    customer.bring(vendor)
    return customer


def test_a_healthy_site_has_no_diagnosis(tmp_path: Path) -> None:
    with serving() as server:
        vendor = release(probes=(UP,))
        customer = enrolled(tmp_path, vendor, api(server.server_address[1]))
        customer.bring(vendor)
        assert customer.diagnoses() == {}


def test_disk_nearly_full(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(small)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mount: a tmpfs of a given size needs root")
    try:
        vendor = release()
        customer = enrolled(tmp_path, vendor, site=small / "site")
        customer.bring(vendor)
        assert customer.diagnoses("before") == {}
        # Something else on the host fills the disk, all but a few blocks.
        filler = small / "filler"
        filler.write_bytes(bytes(shutil.disk_usage(small).free - (200 << 10)))
        named = customer.diagnoses()
        assert set(named) == {"disk-full"}
        assert named["disk-full"].startswith("the disk is nearly full: 0 of 64 MiB free (0 %)")
        # The disk is whole again: so is the site.
        filler.unlink()
        assert customer.diagnoses("after") == {}
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_certificate_near_expiry(tmp_path: Path) -> None:
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    served = authority.issue_cert("localhost", not_after=datetime.now(UTC) + timedelta(days=5, hours=1))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.configure_cert(context)
    with serving(context=context) as server:
        vendor = release(probes=(UP,))
        customer = enrolled(tmp_path, vendor, api(server.server_address[1], "https", "localhost"))
        (customer.site / "tls").mkdir(exist_ok=True)
        authority.cert_pem.write_to_path(str(customer.site / "tls" / "authority.pem"))
        customer.bring(vendor)
        named = customer.diagnoses()
    assert named == {"certificate-expiry": "the certificate of endpoint api expires in 5 days"}


@contextmanager
def with_registry(tmp_path: Path) -> Iterator[tuple[Customer, RunningRegistry]]:
    """A site whose image is in a real registry."""
    with docker_registry(tmp_path / "there") as registry:
        probe = r.Probe(name="image", step="images")
        vendor = release(install=(REGISTRY, FILES), probes=(probe,))
        settings = f"  registry: {{endpoint: '{registry.host}', plain_http: true}}"
        customer = enrolled(tmp_path / "customer", vendor, (r"(?m)^  # registry: .*$", settings))
        customer.bring(vendor)
        assert customer.diagnoses("before") == {}
        yield customer, registry


def test_registry_unreachable(tmp_path: Path) -> None:
    with with_registry(tmp_path) as (customer, registry):
        registry.stop()
        named = customer.diagnoses()
        assert named == {
            "registry-unreachable": "the site's registry cannot be reached; its images could not be looked at: api"
        }
        registry.start()
        assert customer.diagnoses("after") == {}


def test_image_missing_in_the_registry(tmp_path: Path) -> None:
    with with_registry(tmp_path) as (customer, registry):
        # Somebody cleaned up the registry's storage.
        shutil.rmtree(registry.root / "docker/registry/v2/repositories")
        named = customer.diagnoses()
    text = "1 image is missing or incomplete where the release placed it: api (step images)"
    assert named == {"image-missing": text}


def test_image_missing_in_the_store(tmp_path: Path) -> None:
    customer = no_probes(tmp_path)
    blobs = [*customer.site.glob("oci/blobs/sha256/*")]
    manifest = next(blob for blob in blobs if b'"layers"' in blob.read_bytes() and b"subject" not in blob.read_bytes())
    manifest.unlink()
    assert set(customer.diagnoses()) == {"image-missing"}


def test_probe_flapping(tmp_path: Path) -> None:
    with serving() as server:
        vendor = release(probes=(UP,))
        customer = enrolled(tmp_path, vendor, api(server.server_address[1]))
        customer.bring(vendor)
        # From now on it answers every second time; a timer writes reports.
        server.alternates, server.asked = True, 0
        for _ in range(4):
            ok(waybill("report", "--new", "--site", customer.site))
        named = customer.diagnoses()
    assert set(named) == {"probe-flapping"}
    assert re.match(r"probe up flaps: [34] of its last [67] results passed, with [45] changes", named["probe-flapping"])


def test_clock_far_off(tmp_path: Path) -> None:
    """The site's clock is set back before the time that its release proves; the process gets that clock."""
    customer = no_probes(tmp_path)
    medium = tmp_path / "medium"
    medium.mkdir()
    program = f"""
import datetime as d, pathlib, sys
class Old(d.datetime):
    @classmethod
    def now(cls, tz=None):
        return d.datetime(2025, 12, 23, 3, 2, 5, tzinfo=tz)
import console.clock, verifier.site.host, verifier.site.folder, waybill
console.clock.datetime = verifier.site.host.datetime = Old
verifier.site.folder.SYSTEM_STATE = pathlib.Path({str(NO_STATE)!r})
sys.argv[0] = "waybill"
waybill.main()
"""
    words = ["report", "--new", "--out", str(medium), "--site", str(customer.site)]
    subprocess.run([sys.executable, "-c", program, *words], cwd=ROOT, check=True, capture_output=True)
    fleet = tmp_path / "ledger"
    ok(waybill("fleet", "enroll", customer.site / "outbox/enrolment.json", "--fleet", fleet))
    ok(waybill("fleet", "import", medium, *customer.media, "--fleet", fleet), 0, 14)
    (named,) = ok(waybill("fleet", "show", SITE_ID, "--json", "--fleet", fleet)).json["diagnoses"]
    span = "2025-12-23T03:02:05Z is 10d behind 2026-01-02T03:04:05Z"
    assert named == {"id": "clock-off", "text": f"the site's clock is far off: {span}, which a release proves"}


def test_medium_damaged(tmp_path: Path) -> None:
    customer = no_probes(tmp_path)
    vendor = release("1.1.0", 2)
    whole = vendor.bundle()
    made, _, _ = vendor.release()
    damaged = bytearray(whole)
    for at in range(made.bulk_at + 600, made.bulk_at + 620):
        damaged[at] ^= 0xFF
    path = tmp_path / "stick.tar"
    path.write_bytes(damaged)
    customer.run("receive", path, code=7)
    named = customer.diagnoses()
    assert set(named) == {"medium-damaged"}
    assert named["medium-damaged"].startswith("the last bundle was damaged when it arrived (20")
    # The same release on a whole medium: nothing is wrong any more.
    path.write_bytes(whole)
    customer.run("receive", path)
    assert customer.diagnoses("after") == {}


SERVICE = b"""import os, pathlib, sys, time
fate = pathlib.Path(os.environ["WAYBILL_DATA"], "fate")
time.sleep(1.3)
while not fate.exists():
    time.sleep(0.1)
sys.exit(3)
"""


def test_process_restarting(tmp_path: Path) -> None:
    """A real supervisord keeps a service that ends a second after it was started, again and again."""
    step = r.InstallStep(step="app", driver="files", files=("service",), keep_running=("python3", "run.py"))
    vendor = release(install=(step,)).but(images=False, service={"run.py": SERVICE})
    customer = enrolled(tmp_path, vendor, (r"files: \{", "files: {keeper: supervisord, "))
    try:
        customer.bring(vendor)
        assert customer.diagnoses("before") == {}
        next(path for path in (customer.site / "data").iterdir() if path.is_dir()).joinpath("fate").touch()
        log = customer.site / "logs/supervisord.log"
        until = time.monotonic() + 40
        while log.read_text().count("exited: app-g1") < 3 and time.monotonic() < until:
            time.sleep(0.2)
        named = customer.diagnoses()
    finally:
        stop(customer.site)
    assert set(named) == {"service-restarts"}
    assert re.match(r"the service of step app ended by itself [3-9] times and was started", named["service-restarts"])


def test_wrong_config(tmp_path: Path) -> None:
    """A value of `site.yaml` that fits the schema, and with which the service does not answer."""
    vendor, medium, site = tmp_path / "shop", tmp_path / "medium", tmp_path / "site"
    ok(waybill("init", vendor, "--product", "small"))
    text = (vendor / "release.yaml").read_text()
    text = re.sub(r"at_most: \w+", "at_most: 12s", text).replace("first-customer", "northern-grid")
    (vendor / "release.yaml").write_text(text)
    ok(waybill("build", vendor / "release.yaml", "-o", medium))
    ok(waybill("keygen", tmp_path / "me.key", "--no-passphrase"))
    digest = ok(waybill("show", vendor / "trust/1.root.json", "--json")).json["fingerprint"]
    names = ["--customer", "northern-grid", "--product", "small", "--environment", "production", "--name", "east"]
    person = ["--person", f"me={tmp_path / 'me.pub'}", "--practice", "--site", site]
    ok(waybill("enroll", medium, "--fingerprint", digest, *names, *person))
    customer, port = Customer(tmp_path, [medium], site), free_port()
    customer.settings(
        (r"files: \{root: srv\}", "files: {root: srv, keeper: supervisord}"),
        (r"api: FILL-IN", f'api: "http://127.0.0.1:{port}"'),
        (r"port: FILL-IN", f"port: {port}"),
    )
    customer.run("receive", medium)
    review = customer.run("review", "r-0.1.0", "--json").json
    customer.run("approve", "r-0.1.0", "--key", customer.key)
    try:
        customer.run("install", "r-0.1.0", "--contract", review["contract"])
        assert customer.diagnoses("before") == {}
        customer.settings((rf"port: {port}\b", f"port: {free_port()}"))
        customer.install("config", code=10)
        named = customer.diagnoses()
    finally:
        stop(site)
    assert set(named) == {"config-wrong"}
    assert re.fullmatch(
        r"the configuration of generation 2 \(0\.1\.0\) does not work: probe \S+ did not pass; "
        r"the site went back to the generation before",
        named["config-wrong"],
    )


@pytest.mark.parametrize("fate", ["broken", "killed"])
def test_migration_halfway(tmp_path: Path, fate: str) -> None:
    """The release's own program fails after half of its work, or the machine dies in the middle of it."""
    from tests.cli.test_migration import FIRST, NOBODY, SECOND
    from tests.migrating import put_database

    if os.geteuid():
        pytest.skip("needs root: the program runs as another account")
    customer = enrolled(
        tmp_path,
        FIRST,
        (r"(?m)^.*program: \{user: FILL-IN.*$", f"  program: {{user: {NOBODY}}}"),
    )
    db = put_database(customer.site)
    for path in (db.parent, db):
        os.chown(path, NOBODY, NOBODY)
    for folder in db.parents:
        if folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    customer.bring(FIRST)
    assert customer.diagnoses("before") == {}
    (db.parent / "fate").write_text("hang" if fate == "killed" else fate)
    (db.parent / "fate").chmod(0o644)
    if fate == "broken":
        customer.bring(SECOND, code=10)
        named = customer.diagnoses()
        end = "failed half-way; the site went back to the generation before"
    else:
        customer.media.append(SECOND.write(tmp_path / "b2.tar"))
        customer.run("receive", customer.media[-1])
        customer.run("approve", "r-1.1.0", "--key", customer.key)
        words = [sys.executable, "-m", "waybill", "install", "r-1.1.0", "--site", str(customer.site)]
        running = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 30
        while b'"act":"migrate"' not in journal(customer.site) and time.monotonic() < until:
            time.sleep(0.1)
        running.send_signal(signal.SIGKILL)
        running.wait()
        named = customer.diagnoses()
        end = "was cut off half-way; it is unfinished, and `waybill recover` at the site goes on"
    assert set(named) == {"migration-halfway"}
    assert named["migration-halfway"] == f"migration two of generation 2 (1.1.0) {end}"


def journal(site: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted((site / "journal").iterdir()) if path.is_file())


def test_no_report_holds_a_path_or_an_address(tmp_path: Path) -> None:
    """What the diagnoses need leaves as numbers and words: neither the site's folder nor an endpoint's address."""
    with serving() as server:
        port = server.server_address[1]
        vendor = release(probes=(UP,))
        customer = enrolled(tmp_path, vendor, api(port))
        customer.bring(vendor)
        server.sick = True
        ok(waybill("report", "--new", "--site", customer.site))
        preview = ok(waybill("report", "--preview", "--site", customer.site)).out
    assert str(port) not in preview.replace(digest_of(b""), "")
    assert str(customer.site) not in preview
    assert "127.0.0.1" not in preview
