"""Made once, by hand: what stock cosign hangs on an image when it signs and attests with a key and asks no log.

    python -m tests.interop.cosign_made COSIGN > tests/interop/cosign-made/VERSION.json

The image is the one of `tests/vendor.py`, the key its published CI key. Signatures differ at each run, so the files are
kept; `test_cosign.py` reads them on every machine, with or without cosign.
"""

import base64
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from content.bundle.oci import OCI_MANIFEST
from content.registry.client import Registry
from content.registry.session import RegistryOptions
from manifests.words.digest import digest_of
from tests.real import docker_registry
from tests.signed_images import CI, record
from tests.vendor import Vendor

REPOSITORY = "small/api"
PREDICATE = {
    "buildDefinition": {
        "buildType": "https://ci.example/type/1",
        "externalParameters": {"workflow": {"repository": "https://git.example/small"}},
    },
    "runDetails": {"builder": {"id": "https://ci.example/b/1"}},
}


def image() -> tuple[str, dict[str, bytes]]:
    """The digest of the image's manifest, and its blobs."""
    blobs, _, (one,) = Vendor().blobs()
    manifest = json.loads(blobs[one.manifest.digest])
    wanted = [one.manifest.digest, manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])]
    return one.manifest.digest, {digest: blobs[digest] for digest in wanted}


def pieces(data: bytes, start: int = 0) -> Iterator[bytes]:
    yield data[start:]


def main(cosign: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        encoding, kind = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        (folder / "ci.pem").write_bytes(CI.private_bytes(encoding, kind, serialization.NoEncryption()))
        (folder / "predicate.json").write_text(json.dumps(PREDICATE))
        (folder / "config.json").write_text('{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json"}')
        env = {"HOME": name, "PATH": os.environ["PATH"], "COSIGN_PASSWORD": "x", "COSIGN_YES": "true"}

        def run(*words: str) -> str:
            done = subprocess.run([cosign, *words], cwd=folder, env=env, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{words}: {done.stderr}")
            return done.stdout + done.stderr

        run("import-key-pair", "--key", "ci.pem")
        version = re.findall(r"v(\d[0-9.]+)", run("version"))[0]
        with docker_registry(folder) as running, Registry(running.host, RegistryOptions(plain_http=True)) as registry:
            digest, blobs = image()
            for one, data in blobs.items():
                if one != digest:
                    registry.push_blob(REPOSITORY, one, len(data), partial(pieces, data))
            registry.push_manifest(REPOSITORY, "1.0.0", blobs[digest], OCI_MANIFEST)
            where = f"{running.host}/{REPOSITORY}@{digest}"
            how = ["--key", "import-cosign.key", "--allow-http-registry"]
            how += ["--signing-config", "config.json"] if version[0] == "3" else ["--tlog-upload=false"]
            run("sign", *how, where)
            run("attest", *how, "--type", "slsaprovenance1", "--predicate", "predicate.json", where)
            found = {}
            for path in sorted((running.root / "docker/registry/v2/blobs/sha256").rglob("data")):
                data = path.read_bytes()
                if digest_of(data) not in blobs:
                    found[digest_of(data)] = base64.b64encode(data).decode()
            tags = running.root / "docker/registry/v2/repositories" / REPOSITORY / "_manifests/tags"
            named = {path.name: (path / "current/link").read_text() for path in sorted(tags.iterdir())}
    made = {"cosign": version, "key": record(CI).keyid, "image": digest, "tags": named, "blobs": found}
    json.dump(made, sys.stdout, indent=1, sort_keys=True)


if __name__ == "__main__":
    main(sys.argv[1])
