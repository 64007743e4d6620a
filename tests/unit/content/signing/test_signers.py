"""Keys that are no files: programs, tokens, and people on another machine."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from content.signing.detached import request_list
from content.signing.files import write_key
from content.signing.program import ExecSigner
from content.signing.signers import open_signer
from content.signing.token import TokenSigner, parse_token_uri
from content.signing.uri import split_uri, unescape
from manifests.trust.keys import P256_ORDER
from manifests.trust.private_keys import FileSigner, Signer
from manifests.trust.revocations import Revocations
from manifests.words.canonical import encode
from manifests.words.errors import HostError, MalformedError, RefusedError, UsageError, WaybillError
from tests.real import tool
from tests.vendor import RELEASE, ROOT, SECOND, STRANGER, Vendor
from tests.waybill import Done, waybill

MESSAGE = b"what is signed" * 100_000  # more than a pipe holds


def nobody(prompt: str) -> bytes:
    raise AssertionError(f"asked for {prompt}")


def open_(uri: str, beside: Path) -> Signer:
    return open_signer(uri, nobody, beside)


# --- exec: ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_key(tmp_path / "release.key", RELEASE, None)
    return tmp_path


def program(folder: Path, body: str, name: str = "sign") -> Path:
    """A Python program that has ``key``, ``sys`` and ``os`` at hand."""
    path = folder / name
    path.write_text(
        f"#!{sys.executable}\n"
        "import os, sys, time\n"
        "from cryptography.hazmat.primitives import hashes, serialization\n"
        "from cryptography.hazmat.primitives.asymmetric import ec\n"
        f"key = serialization.load_pem_private_key(open({str(folder / 'release.key')!r}, 'rb').read(), None)\n"
        "def sign(message):\n"
        "    return key.sign(message, ec.ECDSA(hashes.SHA256()))\n" + body
    )
    path.chmod(0o755)
    return path


GOOD = "sys.stdout.buffer.write(sign(sys.stdin.buffer.read()))\n"


def test_a_program_signs(folder: Path) -> None:
    program(folder, GOOD)
    signer = open_("exec:sign?public=release.pub", folder)
    assert signer.public == RELEASE.public
    for _ in range(8):  # half of what comes back has a high s
        signer.public.verify(signer.sign(MESSAGE), MESSAGE, "test")


def test_words_reach_the_program_as_they_are(folder: Path) -> None:
    """Nothing between us and the program takes a word apart or acts on it."""
    words = ["--slot", "3 4", "$(touch pwned)", ";id", "*"]
    program(folder, f"assert sys.argv[1:] == {words!r}, sys.argv\n" + GOOD)
    query = "".join(f"&arg={''.join(f'%{byte:02X}' for byte in word.encode())}" for word in words)
    signer = open_(f"exec:sign?public=release.pub{query}", folder)
    signer.public.verify(signer.sign(b"x"), b"x", "test")
    assert not (folder / "pwned").exists()


BAD_PROGRAMS = {
    "nothing": ("pass\n", RefusedError),
    "another message": ("sys.stdout.buffer.write(sign(b'another'))\n", RefusedError),
    "no DER": ("sys.stdout.buffer.write(b'signed!')\n", RefusedError),
    "one byte more": ("sys.stdout.buffer.write(sign(sys.stdin.buffer.read()) + b'\\n')\n", RefusedError),
    "very much": ("sys.stdin.buffer.read(); sys.stdout.write('x' * 10_000_000)\n", HostError),
    "an endless answer": ("\nwhile True: sys.stdout.write('x' * 10_000)\n", HostError),
    "a failure": (GOOD + "sys.stdout.flush(); sys.exit(3)\n", HostError),
    "a crash": ("os.kill(os.getpid(), 9)\n", HostError),
    "sleep": ("time.sleep(60)\n", HostError),
    "sleep after the answer": (GOOD + "sys.stdout.flush(); os.close(1); time.sleep(60)\n", HostError),
    "a child that keeps the pipe": ("\nif os.fork() == 0:\n    time.sleep(20)\n", HostError),
}


@pytest.mark.parametrize("case", BAD_PROGRAMS)
def test_a_program_that_does_not_sign(case: str, folder: Path) -> None:
    body, error = BAD_PROGRAMS[case]
    path = program(folder, body)
    began = time.monotonic()
    with pytest.raises(error) as caught:
        ExecSigner(path, (), RELEASE.public, seconds=2).sign(MESSAGE)
    assert time.monotonic() - began < 10
    assert str(path) in str(caught.value)


def test_a_program_with_another_key(folder: Path) -> None:
    program(folder, GOOD)
    write_key(folder / "other.key", SECOND, None)
    with pytest.raises(RefusedError, match=SECOND.public.keyid[:12]):
        open_("exec:sign?public=other.pub", folder).sign(b"x")


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757])
def test_a_program_that_others_can_change(mode: int, folder: Path) -> None:
    program(folder, GOOD).chmod(mode)
    with pytest.raises(RefusedError) as caught:
        open_("exec:sign?public=release.pub", folder)
    assert caught.value.finding == "key-exposed"


@pytest.mark.parametrize(
    ("uri", "error"),
    [
        ("exec:sign", UsageError),
        ("exec:?public=release.pub", UsageError),
        ("exec:sign?public=release.pub&public=release.pub", UsageError),
        ("exec:sign?public=release.pub&pin=1", UsageError),
        ("exec:sign?public", UsageError),
        ("exec:sign?public=a;b", UsageError),
        ("exec:nowhere?public=release.pub", HostError),
        ("exec:release.key?public=release.pub", HostError),
        ("exec:sign?public=nowhere.pub", HostError),
        ("exec:sign?public=sign", MalformedError),
        ("exec:sign?" + "&".join(["public=release.pub", *["arg=x"] * 65]), UsageError),
    ],
)
def test_uris_that_name_no_program(uri: str, error: type[WaybillError], folder: Path) -> None:
    program(folder, GOOD)
    with pytest.raises(error):
        open_(uri, folder)


def test_a_program_is_never_looked_up_in_the_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = folder / "bin"
    other.mkdir()
    program(folder, GOOD).rename(other / "sign")
    monkeypatch.setenv("PATH", f"{other}:{os.environ['PATH']}")
    with pytest.raises(HostError):
        open_("exec:sign?public=release.pub", folder)


def test_escapes() -> None:
    assert unescape("a%20b%2F%ff", "test") == b"a b/\xff"
    for text in ("%", "%2", "%zz", "a\nb", "a%", "ü"):
        with pytest.raises(UsageError):
            unescape(text, "test")


# --- pkcs11: ----------------------------------------------------------------------------------------------------------

MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so", "/usr/lib/pkcs11/libsofthsm2.so")
PIN = "47 11"


@dataclass(frozen=True)
class Token:
    """A SoftHSM token of this test run, called ``vendor``."""

    module: str
    folder: Path

    def uri(self, path: str = "token=vendor;object=release-1", query: str = "") -> str:
        return f"pkcs11:{path}?module-path={self.module}{query}"


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Token]:
    """One per process: the module reads its settings once."""
    with pytest.MonkeyPatch.context() as patch:
        yield make_token(tmp_path_factory, patch)


def make_token(tmp_path_factory: pytest.TempPathFactory, patch: pytest.MonkeyPatch) -> Token:
    util = tool("softhsm2-util")
    pkcs11 = pytest.importorskip("pkcs11", reason="python-pkcs11 is not installed")
    module = next((one for one in MODULES if Path(one).exists()), None)
    if module is None:
        pytest.skip("libsofthsm2.so is not installed")
    folder = tmp_path_factory.mktemp("token")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder}/tokens\nlog.level = ERROR\n")
    patch.setenv("SOFTHSM2_CONF", str(folder / "softhsm2.conf"))
    command = [util, "--init-token", "--free", "--label", "vendor", "--pin", PIN, "--so-pin", "12345678"]
    subprocess.run(command, check=True, capture_output=True)
    with pkcs11.lib(module).get_token(token_label="vendor").open(rw=True, user_pin=PIN) as session:
        for label, id_, curve in (("release-1", b"\x01", "secp256r1"), ("twin", b"\x02", "secp256r1"),
                                  ("twin", b"\x03", "secp256r1"), ("wide", b"\x04", "secp384r1")):  # fmt: skip
            parameters = session.create_domain_parameters(
                pkcs11.KeyType.EC,
                {pkcs11.Attribute.EC_PARAMS: pkcs11.util.ec.encode_named_curve_parameters(curve)},
                local=True,
            )
            parameters.generate_keypair(store=True, label=label, id=id_, mechanism=pkcs11.Mechanism.EC_KEY_PAIR_GEN)
        session.generate_keypair(pkcs11.KeyType.RSA, 2048, store=True, label="rsa", id=b"\x05")
    return Token(module, folder)


def pin(_: str) -> bytes:
    return PIN.encode()


def test_a_token_signs(token: Token, tmp_path: Path) -> None:
    signer = open_signer(token.uri(), pin, tmp_path)
    for _ in range(8):
        signer.public.verify(signer.sign(MESSAGE), MESSAGE, "test")
    assert PIN not in repr(signer)


@pytest.mark.parametrize("path", ["token=vendor;id=%02", "token=vendor;object=twin;id=%03;type=private"])
def test_a_key_by_its_id(path: str, token: Token, tmp_path: Path) -> None:
    signer = open_signer(token.uri(path), pin, tmp_path)
    signer.public.verify(signer.sign(b"x"), b"x", "test")


def test_the_pin_from_a_file(token: Token, tmp_path: Path) -> None:
    (tmp_path / "pin").write_text(PIN + "\n")
    (tmp_path / "pin").chmod(0o600)
    signer = open_(token.uri(query="&pin-source=file:pin"), tmp_path)
    signer.public.verify(signer.sign(b"x"), b"x", "test")
    (tmp_path / "pin").chmod(0o644)
    with pytest.raises(RefusedError, match="others on this machine can read"):
        open_(token.uri(query="&pin-source=pin"), tmp_path)


@pytest.mark.parametrize(
    ("path", "error", "text"),
    [
        ("token=nobody;object=release-1", HostError, "NoSuchToken"),
        ("token=vendor;object=nothing", HostError, "no private key called nothing"),
        ("token=vendor;object=twin", HostError, "2 private key called twin"),
        ("token=vendor;object=wide", MalformedError, "not a P-256 key"),
        ("token=vendor;object=rsa", MalformedError, "not a P-256 key"),
    ],
)
def test_keys_that_are_not_there(path: str, error: type[WaybillError], text: str, token: Token, tmp_path: Path) -> None:
    with pytest.raises(error, match=text):
        open_signer(token.uri(path), pin, tmp_path)


def test_a_wrong_pin(token: Token, tmp_path: Path) -> None:
    with pytest.raises(RefusedError) as caught:
        open_signer(token.uri(), lambda _: b"0815", tmp_path)
    assert caught.value.finding == "passphrase-wrong"
    assert "0815" not in str(caught.value)


def test_a_token_that_is_pulled_out(token: Token, tmp_path: Path) -> None:
    signer = open_signer(token.uri(), pin, tmp_path)
    assert isinstance(signer, TokenSigner)
    gone = TokenSigner(parse_token_uri(split_uri(token.uri("token=gone;object=release-1"))), PIN, signer.key)
    with pytest.raises(HostError):
        gone.sign(b"x")


def test_a_token_with_another_key_under_the_name(token: Token, tmp_path: Path) -> None:
    signer = open_signer(token.uri(), pin, tmp_path)
    assert isinstance(signer, TokenSigner)
    with pytest.raises(RefusedError) as caught:
        TokenSigner(signer.where, PIN, SECOND.public).sign(b"x")
    assert caught.value.finding == "signer-wrong"


@pytest.mark.parametrize("module", ["/nowhere.so", "/dev/null", __file__])
def test_no_module(module: str, tmp_path: Path) -> None:
    pytest.importorskip("pkcs11", reason="python-pkcs11 is not installed")
    with pytest.raises(HostError):
        open_signer(f"pkcs11:token=a;object=b?module-path={module}", pin, tmp_path)


@pytest.mark.parametrize(
    "uri",
    [
        "pkcs11:",
        "pkcs11:token=a;object=b",
        "pkcs11:token=a;object=b?module-path=relative.so",
        "pkcs11:token=a?module-path=/m.so",
        "pkcs11:object=b?module-path=/m.so",
        "pkcs11:token=a;token=a;object=b?module-path=/m.so",
        "pkcs11:token=a;object=b;slot-id=1?module-path=/m.so",
        "pkcs11:token=a;object=b;type=public?module-path=/m.so",
        "pkcs11:token=a;object=b?module-path=/m.so&pin-value=1234",
        "pkcs11:token=a;object=b?module-path=/m.so&module-name=m",
        "pkcs11:token=%ff;object=b?module-path=/m.so",
        "pkcs11:token=%f;object=b?module-path=/m.so",
    ],
)
def test_uris_that_name_no_key(uri: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_token_uri(split_uri(uri))
    assert "1234" not in caught.value.problem + caught.value.where + caught.value.remedy


def test_without_the_library_it_is_a_refusal_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    with pytest.raises(RefusedError) as caught:
        open_("pkcs11:token=a;object=b?module-path=/m.so", tmp_path)
    assert caught.value.finding == "pkcs11-unavailable"


# --- through the program ----------------------------------------------------------------------------------------------


def token_vendor(signer: Signer) -> Vendor:
    """A vendor whose second release key is in the token."""

    class Recorded(FileSigner):
        @property
        def public(self):  # type: ignore[no-untyped-def]
            return signer.public

    return Vendor(recorded=(RELEASE, Recorded(RELEASE.key)))


def verified(bundle: Path, vendor: Vendor) -> Done:
    root = bundle.with_name("1.root.json")
    root.write_bytes(vendor.root_file())
    return waybill("verify", bundle, "--root", root, "--json")


def test_a_bundle_signed_by_a_token(token: Token, tmp_path: Path) -> None:
    signer = open_signer(token.uri(), pin, tmp_path)
    vendor = token_vendor(signer)
    bundle = vendor.write(tmp_path / "small.tar")
    done = waybill("sign", bundle, "--key", token.uri(), "--passphrase-fd", 0, "--json", stdin=PIN.encode())
    assert done.code == 0
    assert len(done.json["signed_by"]) == 2
    assert signer.public.keyid in verified(bundle, vendor).json["signers"]
    wrong = waybill("sign", bundle, "--key", token.uri(), "--passphrase-fd", 0, "--json", stdin=b"0815")
    assert (wrong.code, wrong.json["error"]["finding"]) == (5, "passphrase-wrong")


def test_a_bundle_signed_by_a_program(folder: Path) -> None:
    program(folder, GOOD)
    vendor = Vendor(signers=())
    bundle = vendor.write(folder / "small.tar")
    done = waybill("sign", bundle, "--key", "exec:sign?public=release.pub", cwd=folder)
    assert done.code == 0
    assert verified(bundle, vendor).code == 0


# --- elsewhere --------------------------------------------------------------------------------------------------------

By = Callable[[Path, FileSigner], object]


def by_openssl(request: Path, signer: FileSigner) -> None:
    openssl = tool("openssl")
    write_key(request / "elsewhere.key", signer, None)
    for name in ("release.json", "statement.pae", "root.pae"):
        if (request / name).exists():
            command = [openssl, "dgst", "-sha256", "-sign", "elsewhere.key", "-out", f"{name}.sig", name]
            subprocess.run(command, cwd=request, check=True, capture_output=True)


def by_waybill(request: Path, signer: FileSigner) -> None:
    key = request.with_name("elsewhere.key")
    write_key(key, signer, None)
    assert waybill("sign", request, "--key", key).code == 0
    key.unlink()
    key.with_suffix(".pub").unlink()


def by_hand(request: Path, signer: FileSigner) -> None:
    """Always a high s, which other programs are free to make."""
    for name in ("release.json", "statement.pae", "root.pae"):
        if (request / name).exists():
            r, s = decode_dss_signature(signer.key.sign((request / name).read_bytes(), ec.ECDSA(hashes.SHA256())))
            (request / f"{name}.sig").write_bytes(encode_dss_signature(r, max(s, P256_ORDER - s)))


@pytest.mark.parametrize("by", [by_openssl, by_waybill, by_hand])
def test_a_bundle_signed_elsewhere(by: By, tmp_path: Path) -> None:
    vendor = Vendor(signers=(RELEASE,), threshold=2)
    bundle = vendor.write(tmp_path / "small.tar")
    request = tmp_path / "request"
    done = waybill("sign", bundle, "--prepare", request, "--json")
    assert done.code == 0
    assert done.json["files"] == ["release.json", "statement.pae"]
    by(request, SECOND)
    done = waybill("sign", bundle, "--attach", request, "--json")
    assert done.code == 0
    assert done.json["missing"] == []
    assert len(verified(bundle, vendor).json["signers"]) == 2


@pytest.mark.parametrize("by", [by_openssl, by_waybill, by_hand])
def test_a_root_signed_elsewhere(by: By, tmp_path: Path) -> None:
    from manifests.trust.envelope_writer import encode_root, seal
    from manifests.trust.root import ROOT_TYPE

    root = tmp_path / "1.root.json"
    root.write_bytes(seal(encode_root(Vendor().root()), ROOT_TYPE, ()))
    request = tmp_path / "request"
    assert waybill("sign", root, "--prepare", request).code == 0
    by(request, ROOT)
    done = waybill("sign", root, "--attach", request, "--json")
    assert done.code == 0
    assert done.json["missing"] == []


def _swapped(request: Path) -> None:
    by_hand(request, SECOND)
    (request / "release.json.sig").rename(request / "x")
    (request / "statement.pae.sig").rename(request / "release.json.sig")
    (request / "x").rename(request / "statement.pae.sig")


def _half(request: Path) -> None:
    by_hand(request, SECOND)
    (request / "statement.pae.sig").unlink()


def _two_people(request: Path) -> None:
    by_hand(request, SECOND)
    (request / "statement.pae.sig").unlink()
    data = (request / "statement.pae").read_bytes()
    (request / "statement.pae.sig").write_bytes(RELEASE.key.sign(data, ec.ECDSA(hashes.SHA256())))


def _other_bytes(request: Path) -> None:
    (request / "release.json").write_bytes((request / "release.json").read_bytes() + b"\n")
    by_hand(request, SECOND)


def _no_der(request: Path) -> None:
    by_hand(request, SECOND)
    (request / "release.json.sig").write_bytes(b"signed!")


def _too_long(request: Path) -> None:
    by_hand(request, SECOND)
    (request / "release.json.sig").write_bytes(bytes(100_000))


ANSWERS: dict[str, tuple[Callable[[Path], None], int, str]] = {
    "nothing": (lambda _: None, 5, "refused"),
    "half": (_half, 5, "refused"),
    "a stranger": (lambda request: by_hand(request, STRANGER), 5, "signature-unknown"),
    "swapped": (_swapped, 5, "signature-unknown"),
    "two people": (_two_people, 5, "signature-wrong"),
    "other bytes": (_other_bytes, 5, "signature-wrong"),
    "no DER": (_no_der, 3, "malformed"),
    "too long": (_too_long, 3, "malformed"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_an_answer_that_is_not_attached(case: str, tmp_path: Path) -> None:
    answer, code, finding = ANSWERS[case]
    bundle = Vendor(signers=(RELEASE,), threshold=2).write(tmp_path / "small.tar")
    before = bundle.read_bytes()
    assert waybill("sign", bundle, "--prepare", tmp_path / "request").code == 0
    answer(tmp_path / "request")
    done = waybill("sign", bundle, "--attach", tmp_path / "request", "--json")
    assert (done.code, done.json["error"]["finding"]) == (code, finding)
    assert bundle.read_bytes() == before


def test_a_key_signs_nothing_that_it_did_not_read(tmp_path: Path) -> None:
    """A request whose statement says something else than its document gets no signature at all."""
    bundle = Vendor(signers=()).write(tmp_path / "small.tar")
    other = Vendor(signers=(), sequence=2).write(tmp_path / "other.tar")
    assert waybill("sign", bundle, "--prepare", tmp_path / "a").code == 0
    assert waybill("sign", other, "--prepare", tmp_path / "b").code == 0
    shutil.copy(tmp_path / "b/statement.pae", tmp_path / "a/statement.pae")
    write_key(tmp_path / "release.key", RELEASE, None)
    done = waybill("sign", tmp_path / "a", "--key", tmp_path / "release.key")
    assert done.code == 3
    assert not list((tmp_path / "a").glob("*.sig"))
    assert waybill("sign", tmp_path, "--key", tmp_path / "release.key").code == 3


def test_a_request_is_written_once_and_answered_once(tmp_path: Path) -> None:
    bundle = Vendor(signers=()).write(tmp_path / "small.tar")
    write_key(tmp_path / "release.key", RELEASE, None)
    assert waybill("sign", bundle, "--prepare", tmp_path / "a").code == 0
    assert waybill("sign", bundle, "--prepare", tmp_path / "a").code == 5
    assert waybill("sign", tmp_path / "a", "--key", tmp_path / "release.key").code == 0
    assert waybill("sign", tmp_path / "a", "--key", tmp_path / "release.key").code == 5


def test_one_way_of_signing_at_a_time(tmp_path: Path) -> None:
    bundle = Vendor(signers=()).write(tmp_path / "small.tar")
    write_key(tmp_path / "release.key", RELEASE, None)
    both = waybill("sign", bundle, "--key", tmp_path / "release.key", "--prepare", tmp_path / "a")
    assert both.code == 2
    # A key in the environment is a default, and gives way.
    assert waybill("sign", bundle, "--prepare", tmp_path / "a", WAYBILL_KEY=str(tmp_path / "release.key")).code == 0


def test_a_request_counts_one_and_many() -> None:
    one, two = "sha256:" + "1" * 64, "sha256:" + "2" * 64
    said = Revocations(vendor="small-works", version=2, keys=("1" * 64,), releases=(one, two))
    assert "revocation list 2 of small-works (1 key, 2 releases, 0 handlers)" in request_list(encode(said)).what
