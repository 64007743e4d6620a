"""`waybill build` as a release engineer calls it, and twice the same bytes from it."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from content.bundle.head import open_head
from manifests.trust.private_keys import encode_private
from manifests.words.digest import digest_of
from tests.real import docker_registry, tool
from tests.vendor import RELEASE, SECOND, Vendor
from tests.waybill import ROOT, waybill
from tests.workshop import Workshop


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    """A vendor's folder with its release key and trust.yaml."""
    made = Workshop(tmp_path / "vendor")
    keys(made)
    made.save()
    return made


def keys(shop: Workshop, passphrase: bytes | None = None, use: tuple[str, ...] = ("release-1",)) -> None:
    """``trust.yaml`` beside the release; two release keys, of which ``use`` are here to sign with."""
    for name, signer in (("release-1", RELEASE), ("release-2", SECOND)):
        shop.write(f"keys/{name}.key", encode_private(signer, passphrase)).chmod(0o600)
        shop.write(f"keys/{name}.pub", signer.public.pem)
    roles = {name: {"keys": ["release-1"], "threshold": 1} for name in ("root", "consignment", "rollback")}
    trust = {
        "waybill": 1,
        "vendor": "small-works",
        "epoch": 1,
        "keys": {
            name: {"public": f"keys/{name}.pub"} | ({"use": f"file:keys/{name}.key"} if name in use else {})
            for name in ("release-1", "release-2")
        },
        "roles": roles | {"release": {"keys": ["release-1", "release-2"], "threshold": 1, "products": ["small"]}},
    }
    shop.write("trust.yaml", json.dumps(trust, indent=1))


def test_build(shop: Workshop, tmp_path: Path) -> None:
    done = waybill("build", shop.path / "release.yaml", "-o", tmp_path)
    assert done.code == 0, done.err
    bundle = tmp_path / "small-1.0.0.tar"
    release = digest_of(open_head(bundle).release)
    assert done.out.splitlines() == [
        f"built    {bundle} ({bundle.stat().st_size / 1024:.1f} KiB)",
        f"signed   release-1 ({RELEASE.public.keyid[:12]})",
        "release  small 1.0.0, stable, sequence 5",
        f"digest   {release}",
        "",
        "next:",
        f"  waybill verify {bundle} --root {shop.path / 'trust' / '1.root.json'}",
    ]
    verified = waybill("verify", bundle, "--root", shop.path / "trust" / "1.root.json")
    assert verified.code == 0, verified.out + verified.err


def test_json(shop: Workshop, tmp_path: Path) -> None:
    done = waybill("build", "release.yaml", "--json", "-o", tmp_path / "new", cwd=shop.path)
    assert (done.code, done.err) == (0, "")
    assert done.json["release"] == digest_of(open_head(tmp_path / "new" / "small-1.0.0.tar").release)
    assert done.json["signers"] == [RELEASE.public.keyid]
    again = waybill("build", "release.yaml", "--json", "-o", tmp_path / "new", cwd=shop.path)
    assert (again.code, again.json["error"]["problem"]) == (5, "exists already")


def test_unsigned_then_signed(shop: Workshop, tmp_path: Path) -> None:
    done = waybill("build", shop.path / "release.yaml", "--unsigned", "-o", tmp_path / "a.tar")
    assert "signed   by nobody" in done.out
    assert "missing  1 more of the release keys: " in done.out
    assert f"release-1 ({RELEASE.public.keyid[:12]})" in done.out
    sign = f"next:\n  waybill sign {tmp_path / 'a.tar'} --key {shop.path / 'keys'}/release-"
    assert re.search(re.escape(sign) + r"[12]\.key\n", done.out)
    assert waybill("sign", tmp_path / "a.tar", "--key", shop.path / "keys" / "release-1.key").code == 0
    assert waybill("build", shop.path / "release.yaml", "-o", tmp_path / "b.tar").code == 0
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_keys_are_never_guessed(shop: Workshop, tmp_path: Path) -> None:
    keys(shop, use=("release-1", "release-2"))
    done = waybill("build", shop.path / "release.yaml", "-o", tmp_path)
    assert done.code == 2
    assert "1 release keys have to sign, and `use` names 2 (release-1, release-2)" in done.err
    both = ("--key", shop.path / "keys/release-1.key", "--key", f"file:{shop.path / 'keys/release-2.key'}")
    done = waybill("build", shop.path / "release.yaml", "-o", tmp_path, *both)
    assert done.code == 0
    assert len(open_head(tmp_path / "small-1.0.0.tar").signatures) == 2
    named = str(shop.path / "keys/release-2.key")
    done = waybill("build", shop.path / "release.yaml", "-o", tmp_path / "c.tar", WAYBILL_KEY=named)
    assert [one.keyid for one in open_head(tmp_path / "c.tar").signatures] == [SECOND.public.keyid]


def test_passphrase(shop: Workshop, tmp_path: Path) -> None:
    keys(shop, passphrase=b"secret")
    secret = shop.write("secret", b"secret\n")
    secret.chmod(0o600)
    assert waybill("build", shop.path / "release.yaml", "-o", tmp_path).code == 2
    done = waybill("build", shop.path / "release.yaml", "-o", tmp_path, WAYBILL_PASSPHRASE_FILE=str(secret))
    assert done.code == 0, done.err
    secret.write_bytes(b"wrong\n")
    done = waybill("build", shop.path / "release.yaml", "-o", tmp_path / "b.tar", WAYBILL_PASSPHRASE_FILE=str(secret))
    assert (done.code, (tmp_path / "b.tar").exists()) == (5, False)
    assert "passphrase is wrong" in done.err


def test_world_readable_key(shop: Workshop, tmp_path: Path) -> None:
    (shop.path / "keys" / "release-1.key").chmod(0o644)
    done = waybill("build", shop.path / "release.yaml", "-o", tmp_path / "out")
    assert (done.code, (tmp_path / "out").exists()) == (5, False)
    assert "others on this machine can read this key" in done.err


def test_error_names_file_and_line(shop: Workshop, tmp_path: Path) -> None:
    shop.release["needs"]["from"] = ["1.0"]
    shop.save()
    text = (shop.path / "release.yaml").read_text().splitlines()
    line = next(n for n, one in enumerate(text, 1) if '"1.0"' in one)
    done = waybill("build", "release.yaml", "-o", tmp_path, cwd=shop.path)
    assert done.code == 3
    assert done.err.splitlines()[0] == f"error: release.yaml:{line}: '1.0' is not a range"


def test_after(shop: Workshop, tmp_path: Path) -> None:
    old = Vendor(version="0.9.0", sequence=3, images=False).write(tmp_path / "old.tar")
    shop.release["needs"]["from"] = [">=0.9.0"]
    shop.release["floor"] = 4
    shop.rollback |= {"back_to": [">=0.9.0"]}
    shop.save()
    done = waybill("build", shop.path / "release.yaml", "-o", tmp_path, "--after", old)
    assert done.code == 5
    assert "floor 4 is above sequence 3 of 0.9.0" in done.err
    head = tmp_path / "old.head"
    head.write_bytes(old.read_bytes()[: open_head(old).bulk_at])
    shop.release["floor"] = 3
    shop.save()
    assert waybill("build", shop.path / "release.yaml", "-o", tmp_path / "good", "--after", head).code == 0
    shop.rollback |= {"back_to": []}
    shop.save()
    done = waybill("build", shop.path / "release.yaml", "-o", tmp_path / "warned", "--after", head)
    assert done.code == 0, done.err
    assert "warning: a site that upgrades from 0.9.0 cannot roll back to it (no-way-back)" in done.err


def test_after_another_vendors_release(shop: Workshop, tmp_path: Path) -> None:
    old = Vendor(version="0.9.0", sequence=3, images=False, practice=True).write(tmp_path / "old.tar")
    done = waybill("build", shop.path / "release.yaml", "-o", tmp_path, "--after", old)
    assert done.code == 4


def test_read_only_folder(shop: Workshop, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    (tmp_path / "out").mkdir(mode=0o555)
    done = waybill("build", shop.path / "release.yaml", "-o", tmp_path / "out")
    assert done.code == 6


def test_full_disk(shop: Workshop, tmp_path: Path) -> None:
    """A file system too small for the bundle: numbers, and nothing left on it."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    place = tmp_path / "small"
    place.mkdir()
    mount = [tool("mount"), "-t", "tmpfs", "-o", "size=128k", "none", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mount of a tmpfs is not allowed here")
    try:
        done = waybill("build", shop.path / "release.yaml", "-o", place)
        assert done.code == 6
        assert "the bundle needs" in done.err
        assert list(place.iterdir()) == []
    finally:
        subprocess.run([tool("umount"), str(place)], check=True)


def test_onto_another_file_system(shop: Workshop, tmp_path: Path) -> None:
    """What the kernel does not copy between file systems passes through our own buffers, to the same bytes."""
    if not os.access("/dev/shm", os.W_OK) or Path("/dev/shm").stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("/dev/shm is no second file system")
    shop.write("service/large.bin", random.Random(1).randbytes(3 << 20))
    shop.tiny()
    shop.save()
    other = Path("/dev/shm") / f"waybill-{os.getpid()}.tar"
    try:
        assert waybill("build", shop.path / "release.yaml", "-o", other).code == 0
        assert waybill("build", shop.path / "release.yaml", "-o", tmp_path).code == 0
        assert other.read_bytes() == (tmp_path / "small-1.0.0.tar").read_bytes()
    finally:
        other.unlink(missing_ok=True)


def test_registry(shop: Workshop, tmp_path: Path) -> None:
    """The same image out of a registry and out of a layout makes the same bundle."""
    skopeo = tool("skopeo")
    shop.full()
    shop.save()
    assert waybill("build", shop.path / "release.yaml", "-o", tmp_path / "layout.tar").code == 0
    with docker_registry(tmp_path) as registry:
        layout = shop.path / "dist" / "app"
        index = json.loads((layout / "index.json").read_bytes())["manifests"]
        push(skopeo, layout, "1.0.0", f"{registry.host}/team/app:1.0.0")
        tags = [one["annotations"]["org.opencontainers.image.ref.name"] for one in index if "annotations" in one
                and "org.opencontainers.image.ref.name" in one["annotations"]]  # fmt: skip
        signature = next(tag for tag in tags if tag.endswith(".sig"))
        push(skopeo, layout, signature, f"{registry.host}/team/app:{signature}")
        push_referrers(registry.host, "team/app", layout)
        shop.release["images"][0]["from"] = f"{registry.host}/team/app:1.0.0"
        shop.save()
        refused = waybill("build", shop.path / "release.yaml", "-o", tmp_path / "registry.tar")
        assert refused.code == 6, refused
        plain = ("--plain-http", registry.host)
        done = waybill("build", shop.path / "release.yaml", "-o", tmp_path / "registry.tar", *plain)
        assert done.code == 0, done.err
        by_digest = open_head(tmp_path / "registry.tar").release
        digest = json.loads(by_digest)["images"][0]["manifest"]["digest"]
        shop.release["images"][0]["from"] = f"{registry.host}/team/app@{digest}"
        shop.save()
        assert waybill("build", shop.path / "release.yaml", "-o", tmp_path / "digest.tar", *plain).code == 0
    assert (tmp_path / "registry.tar").read_bytes() == (tmp_path / "layout.tar").read_bytes()
    assert (tmp_path / "digest.tar").read_bytes() == (tmp_path / "layout.tar").read_bytes()


def push(skopeo: str, layout: Path, ref: str, to: str) -> None:
    words = ["copy", "--all", "--preserve-digests", "--dest-tls-verify=false", f"oci:{layout}:{ref}", f"docker://{to}"]
    done = subprocess.run([skopeo, "--insecure-policy", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def push_referrers(host: str, repository: str, layout: Path) -> None:
    """Push what has a subject, with our own client, which also keeps the fallback tag."""
    from content.registry.client import Registry
    from content.registry.session import RegistryOptions

    with Registry(host, RegistryOptions(plain_http=True)) as registry:
        for path in (layout / "blobs" / "sha256").iterdir():
            data = path.read_bytes()
            document = json.loads(data) if data[:1] == b"{" else {}
            if "subject" not in document:
                continue
            for blob in (document["config"], *document["layers"]):
                source = layout / "blobs" / "sha256" / blob["digest"].removeprefix("sha256:")
                registry.push_blob(repository, blob["digest"], blob["size"], partial(whole, source))
            registry.push_referrer(repository, data, document["mediaType"])


def whole(path: Path) -> Iterator[bytes]:
    yield path.read_bytes()


def test_two_clones_make_the_same_bytes(tmp_path: Path) -> None:
    """Another umask, time zone, locale, file order, hash seed, folder and hour: release.json and bulk do not move."""
    first = furnish(tmp_path / "one" / "vendor", umask=0o022, backwards=False)
    second = furnish(tmp_path / "another place" / "deeper" / "vendor", umask=0o077, backwards=True)
    for path in sorted(second.path.rglob("*")):
        os.utime(path, (86400, 86400))
    environments = (
        (first, {"TZ": "UTC", "LC_ALL": "C", "PYTHONHASHSEED": "1"}, 0o022),
        (second, {"TZ": "Pacific/Kiritimati", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "4242"}, 0o077),
    )
    bundles = []
    for shop, environ, umask in environments:
        command = [sys.executable, "-m", "waybill", "build", str(shop.path / "release.yaml"), "--unsigned"]
        subprocess.run(
            [*command, "-o", str(shop.path / "out")],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "SOURCE_DATE_EPOCH": "1700000000", **environ},
            cwd=shop.path.parent,
            umask=umask,
            check=True,
            capture_output=True,
        )
        bundles.append((shop.path / "out" / "small-1.0.0.tar").read_bytes())
    assert bundles[0] == bundles[1]


def furnish(path: Path, *, umask: int, backwards: bool) -> Workshop:
    """A folder with everything in it whose order or mode could leak; files are made in either order."""
    before = os.umask(umask)
    try:
        shop = Workshop(path)
        del shop.release["issued_at"]
        names = [f"service/{folder}/{name}" for folder in ("a", "b-c", "b") for name in ("Z", "a.txt", "M")]
        for name in reversed(names) if backwards else names:
            shop.write(name, name.encode())
        shop.write("service/tool", b"#!/bin/sh\n").chmod(0o744 if backwards else 0o755)
        for name in ("values.yaml", "Chart.yaml", "templates/b.yaml", "templates/a.yaml")[:: -1 if backwards else 1]:
            text = "apiVersion: v2\nname: small\nversion: 0.1.0\n" if name == "Chart.yaml" else f"kind: {name}\n"
            shop.write(f"chart/{name}", text)
        shop.write("bin/amd64", b"amd64")
        shop.write("bin/arm64", b"arm64")
        shop.full(platforms=["linux/amd64"])
        shop.tiny("worker")
        shop.release["charts"] = [{"name": "small", "from": "chart"}]
        files = {"linux/amd64": "bin/amd64", "linux/arm64": "bin/arm64"}
        shop.release["programs"] = [{"name": "admin", "files": dict(reversed(files.items())) if backwards else files}]
        if backwards:  # the order of keys in YAML means nothing
            shop.release = dict(reversed(shop.release.items()))
            blobs = shop.path / "dist" / "app" / "blobs" / "sha256"
            for blob in sorted(blobs.iterdir(), reverse=True):
                shutil.copyfile(blob, tmp := blob.with_suffix(".tmp"))
                tmp.replace(blob)
        shop.save()
        return shop
    finally:
        os.umask(before)
