"""The whole loop on real Debian images, through the command line: registry to bundle to registry, up and back."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.images import debian_images
from tests.real import docker_registry, tool
from tests.waybill import ROOT, Done, waybill

pytestmark = pytest.mark.slow

RELEASE = """\
waybill: 1
product: shop
version: "{version}"
channel: stable
sequence: {sequence}
issued_at: "2026-0{sequence}-01T00:00:00Z"
audience: {{customers: [northern-grid], environments: [production]}}
needs: {{verifier: "0.1", trust_root: 1, from: [{back}], fresh: true}}
floor: 1
images:
  - name: app
    from: {source}
    to: shop/app
    signed_by: none
    reason: a test
    sbom: none
    sbom_reason: the base has no package database
contract: contract.yaml
rollback: rollback.yaml
install:
  - {{step: images, driver: {driver}, images: [app]}}
probes:
  - {{name: answers, step: images}}
trial: {{at_most: 20s, confirm: probes}}
"""
SITE_ID = "northern-grid/shop/production/east"


def ok(done: Done, code: int = 0) -> Done:
    assert done.code == code, done
    return done


def release(vendor: Path, version: str, sequence: int, source: str, driver: str) -> None:
    back = '">=1.0.0, <1.1.0"' if sequence > 1 else ""
    text = RELEASE.format(version=version, sequence=sequence, source=source, driver=driver, back=back)
    (vendor / "release.yaml").write_text(text)
    rollback = (vendor / "rollback.yaml").read_text()
    lines = [line for line in rollback.splitlines() if not line.startswith("back_to:")]
    (vendor / "rollback.yaml").write_text("\n".join([*lines, f"back_to: [{back}]"]) + "\n")


def enrolled(tmp_path: Path, vendor: Path, medium: Path, drivers: str) -> Path:
    """A site that trusts the vendor, with one operator."""
    site = tmp_path / "site"
    ok(waybill("keygen", tmp_path / "ops-1.key", "--no-passphrase"))
    words = ok(waybill("show", vendor / "trust/1.root.json", "--json")).json["fingerprint"]
    names = ["--customer", "northern-grid", "--product", "shop", "--environment", "production", "--name", "east"]
    person = ["--person", f"ops-1={tmp_path / 'ops-1.pub'}", "--practice", "--site", site]
    ok(waybill("enroll", medium, "--fingerprint", words, *names, *person))
    path = site / "site.yaml"
    text = path.read_text()
    begin = text.index("\ndrivers:")
    rest = text[begin + 1 :].split("\n\n", 1)[1]
    path.write_text(text[:begin] + "\n" + drivers + "\n" + rest)
    return site


def install(site: Path, tmp_path: Path, medium: Path, version: str) -> Done:
    ok(waybill("receive", medium, "--site", site))
    item = f"r-{version}"
    review = ok(waybill("review", item, "--site", site, "--json")).json
    ok(waybill("approve", item, "--key", tmp_path / "ops-1.key", "--site", site))
    contract = json.dumps(review).split('"contract": "')[1][:71] if '"contract": "' in json.dumps(review) else ""
    words = ["--contract", contract] if version == "1.0.0" else []
    return waybill("install", item, *words, "--site", site)


def digest_of_tag(host: str, reference: str) -> str | None:
    """What skopeo finds under a tag, by a client that is not ours."""
    command = [
        tool("skopeo"),
        "inspect",
        "--tls-verify=false",
        "--format",
        "{{.Digest}}",
        f"docker://{host}/{reference}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def test_registry_to_registry_up_and_back(tmp_path: Path) -> None:
    skopeo = tool("skopeo")
    layout = debian_images()
    vendor, media = tmp_path / "vendor", [tmp_path / "m1", tmp_path / "m2"]
    ok(waybill("init", vendor, "--product", "shop"))
    digests = {}
    with docker_registry(tmp_path / "home") as home:
        for sequence, version in enumerate(("1.0.0", "1.1.0"), 1):
            target = f"docker://{home.host}/shop/app:{version}"
            copy = [skopeo, "copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false"]
            subprocess.run([*copy, f"oci:{layout}:{version}", target], check=True)
            digests[version] = digest_of_tag(home.host, f"shop/app:{version}")
            release(vendor, version, sequence, f"{home.host}/shop/app:{version}", "registry")
            after = ["--after", media[0] / "shop-1.0.0.tar"] if sequence > 1 else []
            out = ["-o", media[sequence - 1], "--plain-http", home.host]
            ok(waybill("build", vendor / "release.yaml", *out, *after))
    with docker_registry(tmp_path / "there") as there:
        drivers = f"drivers:\n  registry: {{endpoint: '{there.host}', prefix: vendor, plain_http: true}}\n"
        site = enrolled(tmp_path, vendor, media[0], drivers)
        ok(install(site, tmp_path, media[0], "1.0.0"))
        assert digest_of_tag(there.host, "vendor/shop/app:1.0.0") == digests["1.0.0"]
        ok(install(site, tmp_path, media[1], "1.1.0"))
        assert digest_of_tag(there.host, "vendor/shop/app:1.1.0") == digests["1.1.0"]
        ok(waybill("rollback", "--reason", "a test", "--key", tmp_path / "ops-1.key", "--site", site))
        # Going back takes the new tag away; a rollback that leaves it would let a restart pull the new release.
        assert digest_of_tag(there.host, "vendor/shop/app:1.0.0") == digests["1.0.0"]
        assert digest_of_tag(there.host, "vendor/shop/app:1.1.0") != digests["1.1.0"]
        status = ok(waybill("status", "--site", site)).out
        assert "shop 1.0.0" in status
        fleet = tmp_path / "ledger"
        ok(waybill("fleet", "enroll", site / "outbox/enrolment.json", "--fleet", fleet))
        ok(waybill("fleet", "import", *media, site / "outbox", "--fleet", fleet))
        assert "rolled back from 1.1.0 to 1.0.0" in ok(waybill("fleet", "show", SITE_ID, "--fleet", fleet)).out


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Path, Path, list[Path]]:
    """A vendor with two releases of Debian images for the driver `store`, and an enrolled site."""
    layout = debian_images()
    vendor, media = tmp_path / "vendor", [tmp_path / "m1", tmp_path / "m2"]
    ok(waybill("init", vendor, "--product", "shop"))
    shutil.copytree(layout, vendor / "layout")
    for sequence, version in enumerate(("1.0.0", "1.1.0"), 1):
        release(vendor, version, sequence, f'"oci:layout:{version}"', "store")
        after = ["--after", media[0] / "shop-1.0.0.tar"] if sequence > 1 else []
        ok(waybill("build", vendor / "release.yaml", "-o", media[sequence - 1], *after))
    site = enrolled(tmp_path, vendor, media[0], "drivers:\n  store: {}\n")
    return site, vendor, media


def test_receive_and_install_in_a_namespace_without_a_network(
    stored: tuple[Path, Path, list[Path]], tmp_path: Path
) -> None:
    unshare = tool("unshare")
    site, _, media = stored

    def alone(*words: object) -> str:
        command = [unshare, "-rn", sys.executable, "-m", "waybill", *map(str, words), "--site", str(site)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    alone("receive", media[0])
    contract = json.dumps(json.loads(alone("review", "r-1.0.0", "--json"))).split('"contract": "')[1][:71]
    alone("approve", "r-1.0.0", "--key", tmp_path / "ops-1.key")
    alone("install", "r-1.0.0", "--contract", contract)
    assert "shop 1.0.0" in alone("status")
    subprocess.run([tool("skopeo"), "inspect", f"oci:{site / 'oci'}:shop/app:1.0.0"], check=True, capture_output=True)


def test_two_installs_at_once(stored: tuple[Path, Path, list[Path]], tmp_path: Path) -> None:
    site, _, media = stored
    ok(install(site, tmp_path, media[0], "1.0.0"))
    ok(waybill("receive", media[1], "--site", site))
    ok(waybill("approve", "r-1.1.0", "--key", tmp_path / "ops-1.key", "--site", site))
    command = [sys.executable, "-m", "waybill", "install", "r-1.1.0", "--site", str(site)]
    both = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    said = [one.communicate() for one in both]
    codes = sorted(one.returncode for one in both)
    # One installs; the other is told who holds the site, or comes afterwards and finds it done.
    assert codes[0] == 0, said
    assert codes[1] in (5, 9, 13), said
    assert not any(b"Traceback" in error for _, error in said)
    assert "shop 1.1.0" in ok(waybill("status", "--site", site)).out


def test_a_full_disk_leaves_the_site_as_it_was(stored: tuple[Path, Path, list[Path]], tmp_path: Path) -> None:
    site, _, media = stored
    ok(install(site, tmp_path, media[0], "1.0.0"))
    small = tmp_path / "small"
    small.mkdir()
    size = sum(one.stat().st_size for one in site.rglob("*") if one.is_file() and not one.is_symlink())
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size + (1 << 20)}", "tmpfs", str(small)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mount: a tmpfs of a given size needs root")
    try:
        moved = small / "site"
        shutil.copytree(site, moved, symlinks=True)
        filler = small / "filler"
        free = shutil.disk_usage(small).free
        filler.write_bytes(bytes(max(0, free - (256 << 10))))
        before = ok(waybill("status", "--site", moved, "--json")).json
        done = waybill("receive", media[1], "--keep", "--site", moved)
        assert done.code == 6, done
        assert "hint:" in done.err
        after = ok(waybill("status", "--site", moved, "--json")).json
        assert (after["generation"], after["waiting"]) == (before["generation"], before["waiting"])
        assert ok(waybill("report", "--site", moved)).out
        filler.unlink()
        ok(waybill("receive", media[1], "--site", moved))
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)
