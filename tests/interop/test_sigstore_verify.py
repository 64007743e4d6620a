"""What Sigstore's own verifier for Node says of our signatures, and of the private Sigstore that tests are made with.

It is a second opinion on both: our bundles are good to a program that shares no code with ours, and the keyless fixture
is not merely something that our own judge was written against.
"""

import base64
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from manifests.trust.private_keys import FileSigner
from tests.keyless import IDENTITY, Sigstore
from tests.real import CACHE, tool
from tests.signed_images import CI, b64, message_bundle, statement
from tests.unit.fleet.reporter import Reporter
from tests.vendor import RELEASE, SECOND, Vendor

HERE = Path(__file__).parent / "npm"
PAGE = Path(__file__).parents[2] / "docs" / "verify-without-us.md"


def judge(cases: dict[str, dict[str, Any]]) -> dict[str, str]:
    """From name to ``ok`` or the code of its error; one process for all."""
    node = tool("node")
    modules = CACHE / "npm" / "node_modules"
    if not (modules / "@sigstore" / "verify").is_dir():
        pytest.skip("@sigstore/verify is not installed: make tools")
    done = subprocess.run(
        [node, HERE / "verify.cjs"],
        input=json.dumps(list(cases.values())),
        env={**os.environ, "NODE_PATH": str(modules)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(cases, json.loads(done.stdout), strict=True))


def test_the_script_of_the_page(tmp_path: Path) -> None:
    """docs/verify-without-us.md, followed to the letter: a good release, a changed one, another key."""
    node = tool("node")
    modules = CACHE / "npm" / "node_modules"
    if not (modules / "@sigstore" / "verify").is_dir():
        pytest.skip("@sigstore/verify is not installed: make tools")
    found = re.search(r"<!-- node -->\n```\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    head = Vendor().head()
    (tmp_path / "verify.js").write_text(found[1])
    (tmp_path / "bundle.json").write_bytes(head.signatures[0].bundle)
    (tmp_path / "vendor.pub").write_text(RELEASE.public.pem)
    (tmp_path / "second.pub").write_text(SECOND.public.pem)
    (tmp_path / "release.json").write_bytes(head.release)
    (tmp_path / "changed.json").write_bytes(head.release.replace(b'"sequence":1', b'"sequence":2'))

    def say(key: str, release: str) -> str:
        done = subprocess.run(
            [node, "verify.js", "bundle.json", key, release],
            cwd=tmp_path,
            env={**os.environ, "NODE_PATH": str(modules)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode == 0) == bool(done.stdout)
        return done.stdout or done.stderr

    assert say("vendor.pub", "release.json") == "verified small 1.0.0\n"
    assert "for another file" in say("vendor.pub", "changed.json")
    assert "signature verification failed" in say("second.pub", "release.json")


def by_key(bundle: bytes, signer: Any = RELEASE, artifact: bytes | None = None) -> dict[str, Any]:
    case = {"bundle": json.loads(bundle), "key": signer.public.public}
    return case if artifact is None else {**case, "artifact": b64(artifact)}


def by_identity(bundle: bytes, sigstore: Sigstore, artifact: bytes | None = None) -> dict[str, Any]:
    # The library takes the identity as a pattern.
    wanted = f"^{IDENTITY.replace('.', '[.]').replace('+', '[+]')}$"
    case = {"bundle": json.loads(bundle), "trustedRoot": json.loads(sigstore.trusted_root()), "identity": wanted}
    return case if artifact is None else {**case, "artifact": b64(artifact)}


def changed(bundle: bytes, old: bytes, new: bytes) -> bytes:
    """The payload of the envelope with something else in it."""
    fields = json.loads(bundle)
    payload = base64.b64decode(fields["dsseEnvelope"]["payload"])
    assert old in payload
    fields["dsseEnvelope"]["payload"] = b64(payload.replace(old, new))
    return json.dumps(fields).encode()


def test_key_signed_bundles_of_ours() -> None:
    """Releases and reports; and what is carried: a signature over bytes, as `cosign sign-blob` makes it."""
    vendor = Vendor(signers=(RELEASE, SECOND))
    one, two = (next(s.bundle for s in vendor.head().signatures if s.keyid == k.public.keyid) for k in vendor.signers)
    reporter = Reporter()
    message = vendor.head().release
    found = judge(
        {
            "release": by_key(one),
            "second signer": by_key(two, SECOND),
            "the other's key": by_key(one, SECOND),
            "changed": by_key(changed(one, b'"sequence":1', b'"sequence":2')),
            "report": by_key(reporter.report(), reporter.signer),
            "report, changed": by_key(changed(reporter.report(), b'"stable"', b'"unstab"'), reporter.signer),
            "message": by_key(message_bundle(CI, message), FileSigner(CI), message),
            "another message": by_key(message_bundle(CI, message), FileSigner(CI), message + b" "),
        }
    )
    good = {"release", "second signer", "report", "message"}
    assert found == {name: "ok" if name in good else "SIGNATURE_ERROR" for name in found}


def test_it_does_not_compare_the_file() -> None:
    """docs/verify-without-us.md says so: of an envelope it checks the signature, the subject is for the reader."""
    one = Vendor().head().signatures[0].bundle
    assert judge({"any file": by_key(one, RELEASE, b"any file")}) == {"any file": "ok"}


def test_the_private_sigstore_of_our_tests() -> None:
    first, second = Sigstore(), Sigstore(rekor=2)
    said = statement("sha256:" + "0" * 64)
    found = judge(
        {
            "envelope, Rekor 1": by_identity(first.sign_statement(said), first),
            "message, Rekor 1": by_identity(first.sign_message(b"message"), first, b"message"),
            "message, Rekor 2": by_identity(second.sign_message(b"message"), second, b"message"),
            "envelope, Rekor 2": by_identity(second.sign_statement(said), second),
            "another Sigstore": by_identity(first.sign_statement(said), first.other()),
            "another identity": by_identity(first.sign_statement(said, identity=IDENTITY + "x"), first),
            "no promise of the certificate log": by_identity(first.sign_statement(said, sct=False), first),
            "another message": by_identity(second.sign_message(b"message"), second, b"massage"),
            "without the authority": by_identity(
                second.sign_message(b"message"), Sigstore(rekor=2, stamps=False), b"message"
            ),
        }
    )
    assert found == {
        "envelope, Rekor 1": "ok",
        "message, Rekor 1": "ok",
        "message, Rekor 2": "ok",
        # This version of the library still compares what Rekor 2 logged with another digest of an envelope.
        "envelope, Rekor 2": "TLOG_BODY_ERROR",
        "another Sigstore": "CERTIFICATE_ERROR",
        "another identity": "UNTRUSTED_SIGNER_ERROR",
        "no promise of the certificate log": "CERTIFICATE_ERROR",
        "another message": "SIGNATURE_ERROR",
        "without the authority": "TIMESTAMP_ERROR",
    }
