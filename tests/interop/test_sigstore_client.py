"""The client of the conformance protocol: 0 for what holds, something else for everything else."""

import importlib.machinery
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from manifests.words.digest import digest_of
from tests.keyless import IDENTITY, ISSUER, Sigstore
from tests.signed_images import (
    CI,
    OTHER,
    PrivateKey,
    b64,
    dump,
    envelope_bundle,
    key_material,
    message_bundle,
    pem,
    sign,
    statement,
)
from tests.vendor import RELEASE, Vendor

CLIENT = Path(__file__).parent / "sigstore_client"
ARTIFACT = b"an artifact\n"
DIGEST = digest_of(ARTIFACT)
FIRST, SECOND = Sigstore(), Sigstore(rekor=2)


def load() -> Callable[[list[str]], int]:
    """Its `main`, in this process."""
    loader = importlib.machinery.SourceFileLoader("sigstore_client", str(CLIENT))
    spec = importlib.util.spec_from_loader("sigstore_client", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    main: Callable[[list[str]], int] = module.main
    return main


MAIN = load()


@dataclass
class Desk:
    """Files for one run. Attributes: said: what the last run wrote as its error."""

    folder: Path
    capsys: "pytest.CaptureFixture[str]"
    said: str = ""

    def put(self, name: str, data: bytes) -> str:
        path = self.folder / name
        path.write_bytes(data)
        return str(path)

    def run(self, *words: str) -> bool:
        code = MAIN(["verify-bundle", *words])
        out = self.capsys.readouterr()
        self.said = out.err
        assert out.out == ""
        assert (code == 0) == ("error" not in out.err)
        return code == 0

    def judge(self, bundle: bytes, *how: str, artifact: bytes = ARTIFACT) -> bool:
        """By path and by digest, as the suite runs each case twice; both must agree."""
        words = ("--bundle", self.put("bundle.sigstore.json", bundle), *how)
        by_path = self.run(*words, self.put("a.txt", artifact))
        by_digest = self.run(*words, digest_of(artifact))
        assert by_path == by_digest
        return by_path

    def by_key(
        self, bundle: bytes, key: PrivateKey = CI, trusted: bytes | None = None, artifact: bytes = ARTIFACT
    ) -> bool:
        more = () if trusted is None else ("--trusted-root", self.put("trusted_root.json", trusted))
        return self.judge(bundle, "--key", self.put("key.pub", pem(key)), *more, artifact=artifact)

    def by_identity(
        self, bundle: bytes, identity: str = IDENTITY, issuer: str = ISSUER, trusted: bytes | None = None
    ) -> bool:
        pytest.importorskip("sigstore", reason="sigstore is not installed")
        root = self.put("trusted_root.json", FIRST.trusted_root() if trusted is None else trusted)
        how = ("--certificate-identity", identity, "--certificate-oidc-issuer", issuer, "--trusted-root", root)
        return self.judge(bundle, *how)


@pytest.fixture
def desk(tmp_path: Path, capsys: "pytest.CaptureFixture[str]") -> Desk:
    return Desk(tmp_path, capsys)


# --- keys -------------------------------------------------------------------------------------------------------------


def logged(sigstore: Sigstore, key: ec.EllipticCurvePrivateKey = CI) -> bytes:
    entry = sigstore.record_key(key, ARTIFACT, sign(key, ARTIFACT))
    return message_bundle(key, ARTIFACT, verificationMaterial={**key_material(key), "tlogEntries": [entry]})


def test_a_key(desk: Desk) -> None:
    assert desk.by_key(message_bundle(CI, ARTIFACT))
    assert desk.by_key(envelope_bundle(CI, statement(DIGEST)))
    assert not desk.by_key(message_bundle(CI, ARTIFACT), OTHER)
    assert not desk.by_key(envelope_bundle(CI, statement(DIGEST)), OTHER)


def test_our_own_release(desk: Desk) -> None:
    head = Vendor().head()
    assert desk.by_key(head.signatures[0].bundle, RELEASE.key, artifact=head.release)
    assert not desk.by_key(head.signatures[0].bundle, RELEASE.key, artifact=head.release + b" ")


def test_another_artifact(desk: Desk) -> None:
    for bundle in (message_bundle(CI, ARTIFACT), envelope_bundle(CI, statement(DIGEST))):
        assert not desk.by_key(bundle, artifact=ARTIFACT + b"!")


def test_other_kinds_of_keys(desk: Desk) -> None:
    long = rsa.generate_private_key(65537, 3072)
    assert desk.by_key(message_bundle(long, ARTIFACT), long)
    short, edwards = ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()
    assert desk.by_key(envelope_bundle(edwards, statement(DIGEST)), edwards)
    # It signs bytes and no digest of them: the file is enough, the digest alone is not.
    words = ("--bundle", desk.put("b", message_bundle(edwards, ARTIFACT)), "--key", desk.put("k", pem(edwards)))
    assert desk.run(*words, desk.put("a.txt", ARTIFACT))
    assert not desk.run(*words, DIGEST)
    assert not desk.run(
        "--bundle", desk.put("b", message_bundle(CI, ARTIFACT)), "--key", desk.put("k", pem(short)), DIGEST
    )


@pytest.mark.parametrize(
    "data", [b"", b"no key", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", bytes(1 << 17)]
)
def test_a_key_that_cannot_be_read(data: bytes, desk: Desk) -> None:
    words = ("--bundle", desk.put("b", message_bundle(CI, ARTIFACT)), "--key", desk.put("key.pub", data))
    assert not desk.run(*words, DIGEST)


def test_a_key_and_a_log(desk: Desk) -> None:
    """Without a trusted root the logs are those of the public instance; each entry must hold."""
    pytest.importorskip("sigstore", reason="sigstore is not installed")
    for sigstore in (FIRST, SECOND):
        assert not desk.by_key(logged(sigstore))
        assert "which the trusted root does not name" in desk.said
        assert desk.by_key(logged(sigstore), trusted=sigstore.trusted_root())
        assert not desk.by_key(logged(sigstore), trusted=sigstore.other().trusted_root())
    forged = json.loads(logged(FIRST))
    forged["verificationMaterial"]["tlogEntries"][0]["integratedTime"] = "1"
    assert not desk.by_key(dump(forged), trusted=FIRST.trusted_root())


def test_a_log_of_nobody(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library and without a trusted root nothing says whose log it is."""
    monkeypatch.setitem(MAIN.__globals__, "find_spec", lambda _: None)
    assert desk.by_key(logged(FIRST))
    assert "not looked at" in desk.said
    assert desk.by_key(logged(FIRST), trusted=FIRST.trusted_root())
    assert not desk.by_key(logged(FIRST), trusted=FIRST.other().trusted_root())


def _bundle(**changes: object) -> bytes:
    return dump({**json.loads(message_bundle(CI, ARTIFACT)), **changes})


BAD: dict[str, bytes] = {
    "no JSON": b"bundle",
    "empty": b"",
    "an older version": _bundle(mediaType="application/vnd.dev.sigstore.bundle+json;version=0.1"),
    "a later version": _bundle(mediaType="application/vnd.dev.sigstore.bundle.v0.4+json"),
    "both contents": _bundle(dsseEnvelope={}),
    "no content": dump({k: v for k, v in json.loads(_bundle()).items() if k != "messageSignature"}),
    "name twice": _bundle().replace(b'{"mediaType"', b'{"mediaType":"x","mediaType"', 1),
    "a statement about something else": envelope_bundle(CI, statement("sha256:" + "0" * 64)),
    "no statement": envelope_bundle(CI, b"{}"),
    "another payload type": dump(
        {
            **json.loads(envelope_bundle(CI, statement(DIGEST))),
            "dsseEnvelope": {
                **json.loads(envelope_bundle(CI, statement(DIGEST)))["dsseEnvelope"],
                "payloadType": "text/plain",
            },
        }
    ),
    "claims another digest": message_bundle(CI, ARTIFACT, "sha256:" + "0" * 64),
    "by a certificate": FIRST.sign_message(ARTIFACT),
}


@pytest.mark.parametrize("case", BAD)
def test_bundles_that_do_not_hold(case: str, desk: Desk) -> None:
    assert not desk.by_key(BAD[case])


# --- identities -------------------------------------------------------------------------------------------------------


def test_an_identity(desk: Desk) -> None:
    for sigstore in (FIRST, SECOND):
        assert desk.by_identity(sigstore.sign_message(ARTIFACT))
        assert desk.by_identity(sigstore.sign_statement(statement(DIGEST)))
        assert not desk.by_identity(sigstore.sign_message(ARTIFACT + b"!"))
        assert not desk.by_identity(sigstore.sign_statement(statement("sha256:" + "0" * 64)))


def test_not_this_identity(desk: Desk) -> None:
    bundle = FIRST.sign_message(ARTIFACT)
    assert not desk.by_identity(bundle, identity=IDENTITY + "x")
    assert not desk.by_identity(bundle, identity=IDENTITY[:-1])
    assert not desk.by_identity(bundle, issuer=ISSUER + "/")
    assert not desk.by_identity(bundle, trusted=FIRST.other().trusted_root())
    assert not desk.by_identity(bundle, trusted=b"{}")
    assert not desk.by_identity(message_bundle(CI, ARTIFACT))


def older(sigstore: Sigstore, *more: str) -> bytes:
    """A bundle of the form before 0.3: the certificate comes in a chain, with ``more`` certificates behind it."""
    fields = json.loads(sigstore.sign_message(ARTIFACT))
    fields["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.2"
    leaf = fields["verificationMaterial"].pop("certificate")
    chain = {"certificates": [leaf, *({"rawBytes": raw} for raw in more)]}
    fields["verificationMaterial"]["x509CertificateChain"] = chain
    return dump(fields)


def test_a_chain_brings_no_root(desk: Desk) -> None:
    issuing, root = (b64(one.public_bytes(Encoding.DER)) for one in (FIRST.issuing(), FIRST.ca()))
    for sigstore in (FIRST, SECOND):
        assert desk.by_identity(older(sigstore))
    assert desk.by_identity(older(FIRST, issuing))
    for chain in ((root,), (issuing, root), (root, issuing)):
        assert not desk.by_identity(older(FIRST, *chain))
        assert "the chain holds a root certificate" in desk.said
    assert not desk.by_identity(older(FIRST, "AAAA"))
    assert not desk.by_identity(older(FIRST, "?"))


@pytest.mark.parametrize("more", [(), ("--staging",)])
def test_an_identity_without_a_trusted_root_is_judged_by_the_one_of_the_library(
    desk: Desk, more: tuple[str, ...]
) -> None:
    """Our private instance is not the public one: the bundle does not hold, which is no fault of the options."""
    words = ("--bundle", desk.put("b", FIRST.sign_message(ARTIFACT)), *more)
    by = ("--certificate-identity", IDENTITY, "--certificate-oidc-issuer", ISSUER, DIGEST)
    assert MAIN(["verify-bundle", *words, *by]) not in (0, 2)


def test_the_library_carries_a_trusted_root_for_each_instance() -> None:
    for instance in (MAIN.__globals__["PUBLIC_GOOD"], MAIN.__globals__["STAGING"]):
        root = json.loads(MAIN.__globals__["carried_root"](instance))
        assert root["certificateAuthorities"]
        assert root["tlogs"]


# --- the command line -------------------------------------------------------------------------------------------------


def test_what_it_does_not_know(desk: Desk) -> None:
    bundle, key = desk.put("b", message_bundle(CI, ARTIFACT)), desk.put("k", pem(CI))
    good = ("--bundle", bundle, "--key", key)
    assert desk.run(*good, DIGEST)
    assert desk.run(f"--bundle={bundle}", f"--key={key}", DIGEST)
    for words in (
        (*good, "--in-toto", DIGEST),
        (*good, DIGEST, DIGEST),
        (*good,),
        (*good, "--key", key, DIGEST),
        (*good, "--certificate-identity", IDENTITY, DIGEST),
        (*good, "--certificate-identity", IDENTITY, "--certificate-oidc-issuer", ISSUER, DIGEST),
        ("--bundle", bundle, DIGEST),
        ("--bundle", bundle, "--certificate-identity", IDENTITY, DIGEST),
        ("--key", key, DIGEST),
        (*good, "--trusted-root", desk.put("t", b"x"), DIGEST),
        (*good, "sha512:" + "0" * 128),
        (*good, "sha256:" + "A" * 64),
        (*good, str(desk.folder / "missing")),
        ("--bundle", str(desk.folder / "missing"), "--key", key, DIGEST),
        ("--bundle", bundle, "--key", str(desk.folder / "missing"), DIGEST),
        ("--bundle", str(desk.folder), "--key", key, DIGEST),
        ("--bundle=", "--key", key, DIGEST),
    ):
        assert not desk.run(*words), words


def test_the_executable(desk: Desk) -> None:
    """As the suite starts it: a program of its own, from another folder."""
    words = ["--bundle", desk.put("b", message_bundle(CI, ARTIFACT)), "--key", desk.put("k", pem(CI))]
    for more, code in (([DIGEST], 0), (["sha256:" + "0" * 64], 4), (["--what", DIGEST], 2)):
        command = [sys.executable, str(CLIENT), "verify-bundle", *words, *more]
        assert subprocess.run(command, cwd=desk.folder, capture_output=True, check=False).returncode == code
    for first in ([], ["sign-bundle"], ["verify"]):
        assert subprocess.run([sys.executable, str(CLIENT), *first], capture_output=True, check=False).returncode == 2
    assert CLIENT.stat().st_mode & 0o111
