"""One site from its first paper to its end, with real parts and the kit, and an oracle after every step.

A vendor with three release keys, two of which must sign. A site with two approvers of different roles, a registry, a
service with a SQLite database. First install, upgrade with backup and migration, a new root, an upgrade that fails and
goes back by itself, rollback, a floor, offboarding. After each step the world is asked without Waybill: the service and
the registry over HTTP, the rows by sqlite3, the files by hashlib. Status, review and report must say the same.
"""

import base64
import hashlib
import json
import os
import pwd
import re
import signal
import sqlite3
import subprocess
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from manifests.words.fingerprint import as_words
from tests.claims import Truth, check_report, check_status, generation_that_runs, sha256
from tests.claims_journal import check_journal_claims, check_report_trust, lines_of, moment
from tests.cli.test_authoring import BLOCKS, environ
from tests.images import LayoutWriter
from tests.kit import interpreters, kit_file
from tests.real import RunningRegistry, docker_registry, free_port, tool
from tests.shop_site import ok
from tests.waybill import Done, waybill

pytestmark = pytest.mark.slow

SITE = "first-customer/shop/production/east"
NOBODY = 65534
ROOTS = ("root-a", "root-b", "root-c")
TRUST = """\
waybill: 1
vendor: shop-works
epoch: 1
keys:
{keys}
roles:
  root: {{keys: [{root}], threshold: 2}}
  release: {{keys: [{release}], threshold: 2, products: [shop]}}
  consignment: {{keys: [desk], threshold: 1}}
  rollback: {{keys: [way-back], threshold: 1}}
leave: [{leave}]
"""
IMAGES = """\
images:
  - {{name: api, from: "oci:dist/api:{version}", to: shop/api, signed_by: none, reason: a test, sbom: none,
     sbom_reason: a test}}

files: """
PROGRAMS = """
programs:
  - {name: shop-admin, files: {linux/amd64: dist/shop-admin, linux/arm64: dist/shop-admin}}
"""
# The third release adds a second column; its undo takes it away again.
THIRD = """\
    case ["migrate", "3"]:
        with closing(sqlite3.connect(DATABASE)) as database:
            database.execute("ALTER TABLE visits ADD COLUMN agent TEXT")
    case ["unmigrate", "3"]:
        with closing(sqlite3.connect(DATABASE)) as database:
            database.execute("ALTER TABLE visits DROP COLUMN agent")
    case _:
"""


@dataclass
class Maker:
    """The vendor.

    Attributes:
        released, images, sources, programs: Digests by version: of release.json, of the image, of the service's file
            and of the program for data.
        places, bundles: By version: channel, sequence and floor as a review writes them; the bundle.
    """

    folder: Path
    released: dict[str, str] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    programs: dict[str, str] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    bundles: dict[str, Path] = field(default_factory=dict)

    @property
    def shop(self) -> Path:
        return self.folder / "shop"

    def key(self, name: str) -> Path:
        return self.shop / "keys" / f"{name}.key"

    def begin(self) -> None:
        """A folder as the documentation makes it, with the keys and roles of a vendor in earnest."""
        self.type(BLOCKS[0])
        for path in (*(self.shop / "keys").iterdir(), *(self.shop / "trust").iterdir()):
            path.unlink()
        for name in (*ROOTS, "root-d", "desk", "way-back", "rel-a", "rel-b", "rel-c", "rel-d"):
            ok(waybill("keygen", self.shop / "keys" / f"{name}.key", "--no-passphrase"))
        self.plain = {name: (self.shop / name).read_text() for name in ("release.yaml", "rollback.yaml")}
        self.layout = LayoutWriter(self.shop / "dist" / "api")
        self.root(("rel-a", "rel-b", "rel-c"))

    def type(self, block: str) -> None:
        """Type a block of docs/authoring.md, but for what checks and builds."""
        lines = [line for line in block.splitlines() if not line.startswith(("waybill lint", "waybill build"))]
        subprocess.run(["bash", "-euc", "\n".join(lines)], cwd=self.folder, env=environ(self.folder), check=True)

    def root(self, release: tuple[str, ...], leave: str = "", root: tuple[str, ...] = ROOTS) -> Path:
        """Write the next root document; two of the first three root keys sign it."""
        named = (*root, "desk", "way-back", *release, *re.findall("(?:rel|root)-.", leave))
        keys = "\n".join(f"  {name}: {{public: keys/{name}.pub}}" for name in dict.fromkeys(named))
        text = TRUST.format(keys=keys, root=", ".join(root), release=", ".join(release), leave=leave)
        (self.shop / "trust.yaml").write_text(text)
        ok(waybill("trust", self.shop / "trust.yaml"))
        path = max((self.shop / "trust").glob("*.root.json"))
        for name in ("root-a", "root-b"):
            ok(waybill("sign", path, "--key", self.key(name)))
        return path

    def release(self, version: str, sequence: int, *, from_: str, floor: int = 1, programs: bool = False) -> None:
        """Write release.yaml, and an image that exists in this version only."""
        self.layout.tag(self.layout.image([{"version.txt": version.encode()}]), version)
        self.layout.save()
        text = self.plain["release.yaml"].replace('version: "0.1.0"', f'version: "{version}"')
        text = text.replace("sequence: 1", f"sequence: {sequence}", 1).replace("floor: 1", f"floor: {floor}", 1)
        text = text.replace("from: []", f"from: [{from_}]" if from_ else "from: []", 1)
        text = text.replace("\nfiles: ", "\n" + IMAGES.format(version=version), 1).replace("files: \n", "files:\n", 1)
        first = "  - {step: images, driver: registry, images: [api]}\n"
        page = "  - {step: page, driver: program, migration: page}\n" if programs else ""
        text = text.replace("  - {step: service,", f"{first}{page}  - {{step: service,", 1)
        text = text.replace("every: 2s, passes: 3", "every: 1s, passes: 1").replace("at_most: 1m", "at_most: 8s")
        (self.shop / "release.yaml").write_text(text + (PROGRAMS if programs else ""))
        self.places[version] = f"stable {sequence}, floor {floor} once confirmed"
        self.sources[version] = sha256((self.shop / "service" / "serve.py").read_bytes())
        if programs:
            self.programs[version] = sha256((self.shop / "dist" / "shop-admin").read_bytes())

    def build(self, version: str, *signers: str) -> Path:
        medium = self.folder / "medium"
        ok(waybill("build", self.shop / "release.yaml", "-o", medium, "--unsigned"))
        bundle = self.bundles[version] = medium / f"shop-{version}.tar"
        for name in signers:
            ok(waybill("sign", bundle, "--key", self.key(name)))
        with tarfile.open(bundle) as packed:
            member = packed.extractfile("release.json")
            assert member is not None
            self.released[version] = sha256(member.read())
            index = json.loads((packed.extractfile("index.json") or member).read())
        (self.images[version],) = {entry["digest"] for entry in index["manifests"]}
        return bundle


@dataclass
class Customer:
    """The site, by the kit. Attributes: truth: what this test did to it; begun: installs that were not refused."""

    folder: Path
    registry: RunningRegistry
    maker: Maker
    python: str
    port: int = field(default_factory=free_port)
    begun: int = 0
    truth: Truth = field(default_factory=lambda: Truth(SITE, programs=frozenset({"page"})))

    @property
    def site(self) -> Path:
        return self.folder / "site"

    def __call__(self, *words: object, code: int = 0) -> Done:
        variables = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "WAYBILL_SITE": str(self.site)}
        command = [self.python, "-I", str(kit_file()), *map(str, words)]
        done = subprocess.run(command, cwd=self.folder, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == code, f"{words}: {done.stdout}{done.stderr}"
        self.begun += words[0] == "install" and code in (0, 10)
        return Done(done.returncode, done.stdout, done.stderr)

    def both_approve(self, item: str) -> None:
        for person in ("ops-1", "sec-1"):
            self("approve", item, "--key", f"{person}.key")

    def install(self, version: str, *words: object, code: int = 0) -> Done:
        self.both_approve(f"r-{version}")
        return self("install", f"r-{version}", *words, code=code)

    # What the world says.

    def answer(self, path: str = "/healthz") -> str | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                text: str = answer.read().decode()
                return text.strip()
        except (urllib.error.URLError, ConnectionError):
            return None

    def rows(self) -> list[dict[str, object]]:
        database = self.site / "data" / "service" / "visits.sqlite"
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as opened:
            opened.row_factory = sqlite3.Row
            return [dict(row) for row in opened.execute("SELECT * FROM visits")]

    def tags(self) -> dict[str, str]:
        """The digest of each tag, of the bytes that the registry serves."""
        base = f"http://{self.registry.host}/v2/plant/shop/api"
        try:
            with urllib.request.urlopen(f"{base}/tags/list", timeout=5) as answer:
                names = json.load(answer)["tags"] or []
        except urllib.error.HTTPError:
            return {}
        digests = {}
        for name in names:
            accept = {"Accept": "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"}
            try:
                with urllib.request.urlopen(
                    urllib.request.Request(f"{base}/manifests/{name}", headers=accept), timeout=5
                ) as answer:
                    digests[name] = f"sha256:{hashlib.sha256(answer.read()).hexdigest()}"
            except urllib.error.HTTPError:
                continue  # the registry lists the name of a tag that was taken away
        return digests

    def check(self, version: str | None, *, rows: int = 0, columns: int = 1, **known: Any) -> None:
        """Ask the world what runs, then hold every claim of the site against it."""
        runs = version is not None
        steps = {"images": "placed", "service": "running"} if runs else {}
        steps |= {"page": "placed"} if version == "0.2.0" else {}
        probes = {"answers": "passing", "running": "passing"} if runs else {}
        self.truth = replace(self.truth, version=version, steps=steps, probes=probes, **known)
        self.truth = replace(self.truth, releases=dict(self.maker.released))
        assert self.answer() == (f"visit {rows}, version {version}" if runs else None)
        tags = self.tags()
        if runs:
            assert version is not None
            assert len(self.rows()) == rows
            assert [len(row) for row in self.rows()] == [columns] * rows
            assert tags[version] == self.maker.images[version]
            placed = self.site / "srv" / "service" / "current" / "serve.py"
            assert sha256(placed.read_bytes()) == self.maker.sources[version]
        if "page" in steps:
            program = self.site / "current" / "programs" / "shop-admin"
            assert sha256(program.read_bytes()) == self.maker.programs[version or ""]
        assert set(tags.items()) <= set(self.maker.images.items())
        status = self("status", "--json").json
        text = self("status").out
        check_status(self.site, status, text, self.truth)
        report = check_report(self.site, self.truth)
        check_journal_claims(self.site, status, text, datetime.now(UTC), late=10)
        check_report_trust(self.site, report, moment(report["chain"]["made_at"]))

    def review(self, version: str, *signers: str) -> dict[str, Any]:
        """Hold the review of a release against its bundle, who signed it, and what is placed now."""
        review = self("review", f"r-{version}", "--json").json
        running = self.truth.version
        assert review["generation"] == self.begun + 1, "a number is not used again, not even that of a failed one"
        assert f"switch to generation {review['generation']}" in review["work"]
        assert review["title"] == (f"shop {running} to {version}" if running else f"first install of shop {version}")
        assert review["release"] == self.maker.released[version]
        facts = review["way"][-1]["facts"]
        assert facts["sequence"] == self.maker.places[version]
        keys = sorted(key_id(self.maker.key(name).with_suffix(".pub"))[:12] for name in signers)
        assert sorted(re.findall(r"\b[0-9a-f]{12}\b", facts["signed by"])) == keys
        assert f"root {self.truth.root} of shop-works" in facts["signed by"]
        with tarfile.open(self.maker.bundles[version]) as packed:
            contract = packed.extractfile(f"blobs/sha256/{review['contract'].removeprefix('sha256:')}")
            assert contract is not None
            data = contract.read()
        assert review["contract"] == sha256(data)
        assert json.loads(data)["contract"] == "shop-telemetry"
        assert {role["role"]: (role["have"], role["need"]) for role in review["roles"]} == {
            "operator": (0, 1),
            "security": (0, 1),
        }
        differences = {(one["part"], one["name"]): (one["before"], one["after"]) for one in review["differences"]}
        before = self.maker.sources[running] if running else ""
        after = self.maker.sources[version]
        assert differences.get(("files", "service/serve.py"), (before, before)) == (before, after)
        image = differences[("images", "api")]
        assert self.maker.images[version] in image[1]
        assert (self.maker.images[running] in image[0]) if running else not image[0]
        assert review["way"][-1]["version"] == version
        return review


def key_id(public: Path) -> str:
    """The digest of a public key file, without its first and last line."""
    return hashlib.sha256(base64.b64decode("".join(public.read_text().splitlines()[1:-1]))).hexdigest()


@pytest.fixture
def world() -> Iterator[tuple[Maker, Customer]]:
    tool("docker-registry")
    python = next(iter(interpreters().values()), None)
    if python is None:
        pytest.skip("no Python of the kit")
    with tempfile.TemporaryDirectory(prefix="waybill-journey-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # pytest's own folders are closed to the account of the service
        for part in ("vendor", "customer"):
            (folder / part).mkdir()
        with docker_registry(folder) as registry:
            maker = Maker(folder / "vendor")
            customer = Customer(folder / "customer", registry, maker, python)
            try:
                yield maker, customer
            finally:
                stop(customer.site)


def stop(site: Path) -> None:
    """End the supervisor by its own pid, and with it the service; wait until both have ended."""
    for path in site.glob("run/*.pid"):
        pid = int(path.read_text())
        os.kill(pid, signal.SIGTERM)
        until = time.monotonic() + 20
        while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
            time.sleep(0.1)


def enrol(customer: Customer, bundle: Path) -> None:
    """Make the site from the vendor's paper, and fill in what only the site knows."""
    root = customer.maker.shop / "trust" / "1.root.json"
    ok(waybill("show", root, "--page", customer.folder / "paper.html", "--kit", kit_file()))
    paper = re.sub(r"<[^>]*>", " ", (customer.folder / "paper.html").read_text())
    fingerprint = ok(waybill("show", root, "--json")).json["fingerprint"]
    assert all(word in paper.split() for word in as_words(fingerprint).split()[1:-1])
    assert hashlib.sha256(kit_file().read_bytes()).hexdigest()[:32] in paper.split()
    for person in ("ops-1", "sec-1"):
        customer("keygen", f"{person}.key", "--no-passphrase")
    names = ("--customer", "first-customer", "--product", "shop", "--environment", "production", "--name", "east")
    people = ("--person", "operator:ops-1=ops-1.pub", "--person", "security:sec-1=sec-1.pub")
    customer("enroll", bundle, "--fingerprint", as_words(fingerprint), *names, *people)
    account = pwd.getpwuid(NOBODY if os.geteuid() == 0 else os.geteuid()).pw_name
    path = customer.site / "site.yaml"
    text = path.read_text().replace("api: FILL-IN", f'api: "http://127.0.0.1:{customer.port}"')
    text = text.replace("port: FILL-IN", f"port: {customer.port}")
    text = text.replace("files: {root: srv}", f"files: {{root: srv, keeper: supervisord, user: {account}}}")
    registry = f"endpoint: '{customer.registry.host}', prefix: plant, plain_http: true"
    text = re.sub(r"(?m)^  # registry: .*$", f"  registry: {{{registry}}}\n  program: {{user: {account}}}", text)
    path.write_text(text)


def check_new_root(maker: Maker, customer: Customer, path: Path) -> None:
    """Receive a root that two keys of the root before signed, and one of its own; then with a second one of its own."""
    key = {name: key_id(maker.key(name).with_suffix(".pub"))[:12] for name in (*ROOTS, "root-d", "rel-a", "rel-d")}
    refused = customer("receive", path, code=4)
    customer.check("0.2.0", rows=3, columns=2, root=1)
    missing = f"missing: {', '.join(sorted((key['root-c'], key['root-d'])))}"
    assert f"1 of the 2 root keys that root 2 requires (signed: {key['root-b']}; {missing})" in refused.err
    ok(waybill("sign", path, "--key", maker.key("root-d")))
    done = customer("receive", path)
    received = done.err + done.out
    assert "signed by the quorum of the version before and by its own quorum" in received
    changes = re.findall(r"^ *(joins|leaves) +(\S+): (\S+?),? *(retired|revoked)?\b.*$", received, re.MULTILINE)
    assert sorted(changes) == sorted(
        [
            ("joins", "root", key["root-d"], ""),
            ("joins", "release", key["rel-d"], ""),
            ("leaves", "root", key["root-a"], "revoked"),
            ("leaves", "release", key["rel-a"], "retired"),
        ]
    ), received


def size_of(folder: Path) -> int:
    """The bytes of all files below, without holes."""
    found = [path.lstat() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return sum(min(file.st_size, file.st_blocks * 512) for file in found)


def size_text(size: int) -> str:
    return f"{size} B" if size < 1024 else f"{size / 1024:.1f} KiB"


def check_sizes(customer: Customer, version: str) -> None:
    """Install a release with a backup, and hold the sizes that are stated against the files."""
    site = customer.site
    (room,) = customer("review", f"r-{version}", "--json").json["rooms"]
    disk = os.statvfs(site)
    assert abs(room["free_bytes"] - disk.f_bavail * disk.f_frsize) < 0.02 * disk.f_blocks * disk.f_frsize
    saved = size_of(site / "data" / "service")
    written = ("store", "generations", "backups", "srv")
    before = sum(size_of(site / name) for name in written)
    done = customer("install", f"r-{version}")
    backup = (site / "backups" / "2" / "service").stat().st_size
    assert 0 < sum(size_of(site / name) for name in written) - before <= room["bytes"]
    (event,) = [line.event for line in lines_of(site) if line.event.get("act") == "backup" and "result" in line.event]
    assert (event["size"], event["saved_bytes"]) == (backup, saved)
    assert f"backup service: {size_text(backup)}" in done.err
    assert f"data/service has {size_text(saved)}" in done.err
    assert f"backup of service made: {size_text(backup)} of {size_text(saved)}" in customer("history").out


def support(maker: Maker, customer: Customer) -> list[str]:
    """What support learns from the enrolment, the bundles and the reports: what was installed, in order."""
    ledger = ("--fleet", maker.folder / "ledger")
    ok(waybill("fleet", "enroll", customer.site / "outbox" / "enrolment.json", *ledger))
    done = ok(waybill("fleet", "import", maker.folder / "medium", customer.site / "outbox", *ledger))
    assert "alarm" not in done.out + done.err
    shown = ok(waybill("fleet", "show", SITE, "--json", *ledger)).json
    return [event["text"] for event in shown["history"] if event["kind"] != "report"]


def test_from_the_first_paper_to_the_end(world: tuple[Maker, Customer]) -> None:
    maker, customer = world
    # A first release needs two of three signatures, and the approvals of both roles.
    maker.begin()
    maker.release("0.1.0", 1, from_="")
    bundle = maker.build("0.1.0", "rel-a")
    root = maker.shop / "trust" / "1.root.json"
    assert ok(waybill("verify", bundle, "--root", root, "--json"), 4).json["error"]["finding"] == "signature-missing"
    ok(waybill("sign", bundle, "--key", maker.key("rel-b")))
    enrol(customer, bundle)
    customer("receive", bundle)
    customer.check(None, mark=1, waiting=frozenset({"r-0.1.0"}))
    contract = customer.review("0.1.0", "rel-a", "rel-b")["contract"]
    customer("approve", "r-0.1.0", "--key", "ops-1.key")
    assert "security: 0 of 1" in customer("install", "r-0.1.0", "--contract", contract, code=9).err
    customer.check(None)
    assert customer.tags() == {}
    customer("approve", "r-0.1.0", "--key", "sec-1.key")
    customer("install", "r-0.1.0", "--contract", contract)
    customer.check("0.1.0", sequence=1, floor=1, waiting=frozenset(), rollbacks=())
    assert [customer.answer("/") for _ in range(2)] == ["visit 1, version 0.1.0", "visit 2, version 0.1.0"]

    # An upgrade with a backup and a migration. The approver for security is elsewhere.
    maker.type(BLOCKS[1])
    maker.release("0.2.0", 2, from_='">=0.1.0, <0.2.0"', programs=True)
    customer("receive", maker.build("0.2.0", "rel-b", "rel-c"))
    assert "page: shop-admin migrate 2; undone by" in customer.review("0.2.0", "rel-b", "rel-c")["back"]["steps"][0]
    customer.check("0.1.0", rows=2, mark=2, waiting=frozenset({"r-0.2.0"}))
    customer("review", "r-0.2.0", "--out", "stick")
    customer("approve", "stick", "--key", "sec-1.key")
    customer("receive", "stick")
    customer("approve", "r-0.2.0", "--key", "ops-1.key")
    check_sizes(customer, "0.2.0")
    customer.check("0.2.0", rows=2, columns=2, sequence=2, waiting=frozenset())
    assert customer.answer("/orders") == "visit 3, version 0.2.0"
    assert [row["page"] for row in customer.rows()] == [None, None, "/orders"]
    with closing(sqlite3.connect(customer.site / "backups" / "2" / "service")) as saved:
        assert saved.execute("SELECT count(*) FROM visits").fetchone() == (2,)

    # One release key leaves, another joins; and so does a root key. What the former sign from now on does not count.
    leave = "{key: rel-a, how: retired, last: {epoch: 1, sequence: 2}}, {key: root-a, how: revoked}"
    path = maker.root(("rel-b", "rel-c", "rel-d"), leave, ("root-b", "root-c", "root-d"))
    check_new_root(maker, customer, path)
    customer("report", "--new")
    customer.check("0.2.0", rows=3, columns=2, root=2)

    # An upgrade that fails: the new version never answers well. It goes back by itself, and the data with it.
    service = maker.shop / "service" / "serve.py"
    good = service.read_text()
    service.write_text(good.replace("send_response(200)", 'send_response(503 if self.path == "/healthz" else 200)'))
    admin, rollback = maker.shop / "dist" / "shop-admin", maker.shop / "rollback.yaml"
    admin.write_text(admin.read_text().replace("    case _:\n", THIRD))
    text = rollback.read_text().replace(">=0.1.0, <0.2.0", ">=0.2.0, <0.3.0").replace('migrate, "2"', 'migrate, "3"')
    text = text.replace('migrate, "1"', 'unmigrate, "3"').replace('     check: [shop-admin, schema-is, "2"],', "    ")
    text = text.replace("reads: [1, 2], writes: 2}", "reads: [1, 3], writes: 3}").replace(
        "[1, 1], writes: 1", "[1, 2], writes: 2"
    )
    rollback.write_text(text)
    maker.release("0.3.0", 3, from_='">=0.2.0, <0.3.0"', programs=True)
    broken = maker.build("0.3.0", "rel-b")
    assert "is not a release key of root 2" in ok(waybill("sign", broken, "--key", maker.key("rel-a")), 5).err
    assert customer("receive", broken, "--json", code=4).json["error"]["finding"] == "signature-missing"
    ok(waybill("sign", broken, "--key", maker.key("rel-d")))
    customer("receive", broken)
    customer.review("0.3.0", "rel-b", "rel-d")
    customer.install("0.3.0", code=10)
    failed = ((3, 2, True),)
    customer.check("0.2.0", rows=3, columns=2, mark=3, waiting=None, rollbacks=failed)
    assert maker.images["0.3.0"] not in customer.tags().values()
    assert customer("install", "r-0.3.0", code=9).code == 9, "a release that failed needs new approvals"

    # Back on purpose: the column goes, the rows stay, and so does what was written since.
    customer.both_approve("b-1")
    customer("rollback", "--reason", "the column is not wanted")
    customer.check("0.1.0", rows=3, sequence=1, rollbacks=(*failed, (2, 1, False)))
    assert customer.answer("/") == "visit 4, version 0.1.0"

    # A release that raises the floor: from then on nobody goes below it.
    service.write_text(good.replace('(page) VALUES (?)", [self.path]', 'DEFAULT VALUES"'))
    rollback.write_text(maker.plain["rollback.yaml"])
    maker.release("0.4.0", 4, from_='">=0.1.0, <0.4.0"', floor=4)
    customer("receive", maker.build("0.4.0", "rel-c", "rel-d"))
    customer.review("0.4.0", "rel-c", "rel-d")
    customer.install("0.4.0")
    customer.check("0.4.0", rows=4, sequence=4, mark=4, floor=4)
    for words in (("approve", "b-1", "--key", "ops-1.key"), ("rollback", "--to", "1")):
        assert customer(*words, "--json", code=5).json["error"]["finding"] == "below-floor"
    customer.check("0.4.0", rows=4)

    # Support reads the reports in the order in which things happened.
    assert support(maker, customer) == [
        "installed 0.1.0, confirmed",
        "upgraded from 0.1.0 to 0.2.0, confirmed",
        "rolled back from 0.3.0 to 0.2.0 automatically: a probe did not pass",
        "rolled back from 0.2.0 to 0.1.0 by hand",
        "upgraded from 0.1.0 to 0.4.0, confirmed",
    ]

    # The end of the vendor's access: the service runs on, the vendor's next bundle is refused.
    runs = generation_that_runs(customer.site)
    customer("offboard", "--reason", "contract ended", "--key", "ops-1.key", "--key", "sec-1.key", "--yes")
    customer.check("0.4.0", rows=4, offboarded=True, waiting=frozenset())
    assert not list((customer.site / "trust").glob("*.root.json"))
    assert customer("receive", bundle, "--json", code=5).json["error"]["finding"] == "offboarded"
    assert generation_that_runs(customer.site) == runs
    assert customer.answer("/") == "visit 5, version 0.4.0"
