"""A minimal verifier, written from docs/format.md alone: it imports nothing of this project.

It judges the rules that section 15 of the format marks with *yes*, and exits as the format says. It shows that the page
is enough, and that the marks are right. Usage: ``python minimal_verifier.py BUNDLE PIN_DIGEST [PIN_VERSION]``.
"""

import base64
import binascii
import hashlib
import json
import re
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

BLOCK = 512
MIB = 1 << 20
VERSION = (0, 1, 0)
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
VERIFY_TXT = "sha256:11b032a5c24653dc4a8e3b7381d49af74f6bbb936d63f5f2b82ffb2438acca66"
ROLES = ("root", "release", "consignment", "rollback")
PAGE = "application/vnd.waybill."

DIGEST, HEX = r"sha256:[0-9a-f]{64}", r"[0-9a-f]{64}"
NAME, WORD = r"[a-z0-9][a-z0-9._-]{0,127}", r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
RELEASE_VERSION = r"[a-z0-9][a-z0-9._+-]{0,127}"
BASE64 = r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
TEXT = r"[^\x00-\x1f\x7f-\x9f]{0,4096}"


class Refused(Exception):  # noqa: N818 - a verdict, not an error
    """Attributes: code: the exit code of the format."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


def demand(holds: object, code: int, why: str) -> None:
    if not holds:
        raise Refused(code, why)


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


# --- sections 2 and 3 -------------------------------------------------------------------------------------------------


def header(name: str, size: int) -> bytes:
    length = b"%011o\0" % size if size < 8**11 else b"\x80" + size.to_bytes(11, "big")
    block = bytearray(BLOCK)
    block[: len(name)] = name.encode("ascii")
    block[100:148] = b"0000644\0" + b"0000000\0" * 2 + length + b"00000000000\0"
    block[148:157] = b"        0"
    block[257:265] = b"ustar\x0000"
    block[329:345] = b"0000000\0" * 2
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def read_header(block: bytes) -> tuple[str, int]:
    try:
        name = block[:100].rstrip(b"\0").decode("ascii")
        field = block[124:136]
        size = int.from_bytes(field[1:], "big") if field[0] == 0x80 else int(field[:11].decode("ascii"), 8)
        same = size >= 0 and header(name, size) == block
    except (ValueError, IndexError, OverflowError):
        same = False
    demand(same, 3, "not a header")
    return name, size


class Reader:
    """The members of the head, each with its cap."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        demand(self.at + count <= len(self.data), 3, "ends inside its head")
        self.at += count
        return self.data[self.at - count : self.at]

    def content(self, size: int, cap: int) -> bytes:
        demand(size <= min(cap, 32 * MIB - self.at), 3, "longer than its cap")
        content = self.take(size)
        demand(not self.take(-size % BLOCK).strip(b"\0"), 3, "padding")
        return content


def read_head(data: bytes) -> dict[str, Any]:
    demand(data[:BLOCK] == header("oci-layout", 30), 3, "not a bundle")
    reader = Reader(data)
    head: dict[str, Any] = {"signers": [], "roots": [], "trusted": None, "list": None}
    reader.take(BLOCK)
    demand(reader.content(30, 30) == b'{"imageLayoutVersion":"1.0.0"}', 3, "oci-layout")
    name, size = read_header(reader.take(BLOCK))
    demand(name == "release.json", 3, "release.json is the second member")
    head["release"] = reader.content(size, 8 * MIB)
    while True:
        name, size = read_header(reader.take(BLOCK))
        if name == "reserve":
            break
        if found := re.fullmatch(rf"signatures/({HEX})\.(sig|sigstore\.json)", name):
            last = head["signers"][-1][0] if head["signers"] else ""
            demand(not head["roots"] and head["list"] is None, 3, "signers come first")
            demand(found[1] > last and len(head["signers"]) < 128, 3, "key ids rise, at most 128")
            sig = None
            if found[2] == "sig":
                sig = reader.content(size, MIB)
                name, size = read_header(reader.take(BLOCK))
                demand(name == f"signatures/{found[1]}.sigstore.json", 3, "two files of one signer")
            head["signers"].append((found[1], sig, reader.content(size, MIB)))
        elif found := re.fullmatch(r"trust/([1-9][0-9]{0,4})\.root\.json", name):
            number = int(found[1])
            first = not head["roots"]
            demand(head["trusted"] is None and head["list"] is None, 3, "roots come before")
            demand(first or number == head["first"] + len(head["roots"]), 3, "numbers rise by one")
            demand(len(head["roots"]) < 256, 3, "at most 256 roots")
            head["first"] = number if first else head["first"]
            head["roots"].append(reader.content(size, 256 << 10))
        elif name == "trust/trusted_root.json" and head["roots"] and head["trusted"] is None and head["list"] is None:
            head["trusted"] = reader.content(size, MIB)
        elif name == "revocations.json" and head["list"] is None:
            head["list"] = reader.content(size, MIB)
        else:
            raise Refused(3, "a name that the head does not have here")
    demand(head["roots"], 3, "no root")
    demand((head["trusted"] is None) == all(sig is not None for _, sig, _ in head["signers"]), 3, "trusted_root.json")
    demand((reader.at + size) % 65536 == 0, 3, "the head ends at a multiple of 65536")
    demand(not reader.content(size, 32 * MIB).strip(b"\0"), 3, "the reserve is zeros")
    head["length"] = reader.at
    return head


# --- sections 4 and 5 -------------------------------------------------------------------------------------------------


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    demand(len(found) == len(pairs), 3, "a key twice")
    return found


def canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(plain(one) for one in value.values())
    if isinstance(value, list):
        return all(plain(one) for one in value)
    return isinstance(value, str | bool) or (isinstance(value, int) and abs(value) < 2**53)


def parse(data: bytes, cap: int) -> Any:
    """Any document: size, depth, UTF-8, canonical form (F-4.4 and what stands around it)."""
    demand(len(data) <= cap, 3, "longer than its cap")
    level = deepest = 0
    for token in re.findall(rb'"(?:[^"\\]|\\.)*(?:"|\Z)|[\[{\]}]', data, re.DOTALL):
        level += (token in (b"[", b"{")) - (token in (b"]", b"}"))
        deepest = max(deepest, level)
    demand(deepest <= 32, 3, "nested too deep")
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=unique)
        demand(plain(value) and canonical(value) == data, 3, "not canonical")
    except (ValueError, RecursionError):
        raise Refused(3, "not JSON") from None
    return value


class Shape:
    """A table of the format: required and optional fields, each with a check."""

    def __init__(self, required: dict[str, Any], optional: dict[str, Any] | None = None) -> None:
        self.required, self.optional = required, optional or {}

    def check(self, value: Any) -> bool:
        if not isinstance(value, dict):
            return False
        checks = self.required | self.optional
        return set(self.required) <= set(value) <= set(checks) and all(fits(checks[key], value[key]) for key in value)


def fits(check: Any, value: Any) -> bool:
    if isinstance(check, str):
        return isinstance(value, str) and re.fullmatch(check, value) is not None
    if isinstance(check, Shape):
        return check.check(value)
    return bool(check(value))


def many(check: Any, low: int, high: int) -> Any:
    return lambda value: (
        isinstance(value, list) and low <= len(value) <= high and all(fits(check, one) for one in value)
    )


def table(key: str, check: Any, low: int, high: int) -> Any:
    return lambda value: (
        isinstance(value, dict)
        and low <= len(value) <= high
        and all(fits(key, name) and fits(check, one) for name, one in value.items())
    )


def whole(low: int, high: int = 2**53 - 1) -> Any:
    return lambda value: type(value) is int and low <= value <= high


def exactly(wanted: object) -> Any:
    return lambda value: value == wanted and type(value) is type(wanted)


POSITIVE = whole(1)
MARK = Shape({"epoch": POSITIVE, "sequence": POSITIVE})
MEDIA = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}(;[ -~]{1,100})?"
ENVELOPE = Shape(
    {"payload": BASE64, "payloadType": MEDIA, "signatures": many(Shape({"keyid": HEX, "sig": BASE64}), 0, 128)}
)
ROOT = Shape(
    {
        "type": exactly(PAGE + "root.v1+json"),
        "vendor": NAME,
        "version": whole(1, 99999),
        "epoch": POSITIVE,
        "keys": table(HEX, Shape({"algorithm": WORD, "public": BASE64}), 1, 256),
        "roles": table(
            WORD,
            Shape({"keys": many(HEX, 1, 64), "threshold": whole(1, 64)}, {"products": many(NAME, 1, 256)}),
            1,
            64,
        ),
    },
    {
        "practice": lambda value: value is True,
        "previous": DIGEST,
        "identities": table(HEX, Shape({"identity": rf"(?=.){TEXT}", "issuer": rf"(?=.){TEXT}"}), 1, 64),
        "leave": table(HEX, Shape({"how": r"retired|revoked"}, {"last": MARK}), 1, 1024),
        "sigstore": many(DIGEST, 1, 16),
    },
)
LIST = Shape(
    {"type": exactly(PAGE + "revocations.v1+json"), "vendor": NAME, "version": POSITIVE},
    {"keys": many(HEX, 1, 4096), "releases": many(DIGEST, 1, 4096), "handlers": many(DIGEST, 1, 4096)},
)
SIGSTORE = Shape(
    {
        "mediaType": exactly("application/vnd.dev.sigstore.bundle.v0.3+json"),
        "verificationMaterial": Shape({"publicKey": Shape({"hint": BASE64}), "tlogEntries": exactly([])}),
        "dsseEnvelope": Shape(
            {
                "payload": BASE64,
                "payloadType": exactly("application/vnd.in-toto+json"),
                "signatures": many(Shape({"sig": BASE64}), 1, 1),
            }
        ),
    }
)
STATEMENT = Shape(
    {
        "_type": exactly("https://in-toto.io/Statement/v1"),
        "predicateType": lambda value: isinstance(value, str),
        "subject": many(Shape({"name": TEXT, "digest": Shape({"sha256": HEX})}), 1, 1),
        "predicate": Shape(
            dict.fromkeys(("epoch", "sequence", "root_version", "format"), POSITIVE)
            | {"product": NAME, "channel": NAME, "version": RELEASE_VERSION, "kits": many(DIGEST, 0, 64)}
        ),
    }
)


def document(data: bytes, shape: Shape, cap: int) -> Any:
    value = parse(data, cap)
    demand(fits(shape, value), 3, "not of its table")
    return value


def unbase64(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise Refused(3, "not base64") from None
    demand(base64.b64encode(data).decode() == text, 3, "slack bits")
    return data


def envelope(data: bytes, kind: str, cap: int) -> tuple[bytes, list[dict[str, str]]]:
    found = document(data, ENVELOPE, cap)
    demand(found["payloadType"] == kind, 3, "payload type")
    ids = [one["keyid"] for one in found["signatures"]]
    demand(ids == sorted(set(ids)), 3, "key ids rise")
    return unbase64(found["payload"]), found["signatures"]


def encoding(kind: str, payload: bytes) -> bytes:
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)


def holds(key: dict[str, str], signature: bytes, message: bytes) -> None:
    """F-5.4, F-5.3, then the signature itself."""
    try:
        r, s = utils.decode_dss_signature(signature)
    except ValueError:
        raise Refused(4, "not DER") from None
    demand(s <= ORDER // 2 and utils.encode_dss_signature(r, s) == signature, 4, "another spelling")
    der = unbase64(key["public"])
    try:
        public = serialization.load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm):
        raise Refused(3, "no key") from None
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise Refused(3, "not P-256")
    form = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    demand(form == der, 3, "another form of the key")
    try:
        public.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise Refused(4, "signature does not match") from None


def known(key: dict[str, str]) -> bool:
    return key["algorithm"] == "ecdsa-p256-sha256"


# --- sections 6 and 13 ------------------------------------------------------------------------------------------------


def ascending(values: list[str]) -> bool:
    return values == sorted(set(values))


def read_root(data: bytes) -> dict[str, Any]:
    payload, signatures = envelope(data, PAGE + "root.v1+json", 256 << 10)
    root = document(payload, ROOT, 256 << 10)
    identities = root.get("identities", {})
    for keyid, key in root["keys"].items():
        demand(hashlib.sha256(unbase64(key["public"])).hexdigest() == keyid, 3, "a key under another id")
    for id_, identity in identities.items():
        demand(id_ == hashlib.sha256(canonical(identity)).hexdigest() and id_ not in root["keys"], 3, "identity")
    demand(set(ROLES) <= set(root["roles"]), 3, "a role is missing")
    for name, role in root["roles"].items():
        listed = set(root["keys"]) | (set(identities) if name == "release" or name not in ROLES else set())
        demand(ascending(role["keys"]) and set(role["keys"]) <= listed, 3, "keys of a role")
        demand(name not in ROLES or role["threshold"] <= len(role["keys"]), 3, "threshold")
        demand(not set(role["keys"]) & set(root.get("leave", {})), 3, "a leaver in a role")
        products = role.get("products", [])
        demand(ascending(products) and bool(products) == (name == "release"), 3, "products")
    demand((root["version"] == 1) == ("previous" not in root), 3, "previous")
    demand(ascending(root.get("sigstore", [])), 3, "sigstore")
    for leaver in root.get("leave", {}).values():
        demand((leaver["how"] == "retired") == ("last" in leaver), 3, "last")
    return {"raw": data, "payload": payload, "signatures": signatures, "root": root}


def signed_by(role: dict[str, Any], good: set[str]) -> bool:
    return len(good & set(role["keys"])) >= int(role["threshold"])


def read_chain(files: list[bytes], pin: str, pin_version: int, first: int) -> list[dict[str, Any]]:
    chain = [read_root(data) for data in files]
    for before, after in pairwise(chain):
        demand(after["root"]["version"] == before["root"]["version"] + 1, 3, "versions are consecutive")
    pinned = [n for n, one in enumerate(chain) if digest(one["payload"]) == pin]
    demand(pinned, 4, "the pin is not in the chain")
    demand(pin_version in (0, chain[pinned[0]]["root"]["version"]), 4, "the pin has another version")
    for before, after in pairwise(chain):
        demand(after["root"]["previous"] == digest(before["raw"]), 4, "previous")
        demand(after["root"]["vendor"] == before["root"]["vendor"], 4, "vendor")
        demand(after["root"]["epoch"] >= before["root"]["epoch"], 4, "epoch")
    for n, one in enumerate(chain):
        previous = chain[n - 1]["root"] if n else None
        recorded = (previous["keys"] if previous else {}) | one["root"]["keys"]
        good = set()
        for signature in one["signatures"]:
            key = recorded.get(signature["keyid"])
            demand(key, 4, "signed by an unknown key")
            if known(key):
                holds(key, unbase64(signature["sig"]), encoding(PAGE + "root.v1+json", one["payload"]))
                good.add(signature["keyid"])
        demand(n < pinned[0] or signed_by(one["root"]["roles"]["root"], good), 4, "own quorum")
        demand(n <= pinned[0] or (previous and signed_by(previous["roles"]["root"], good)), 4, "quorum before")
    demand(chain[0]["root"]["version"] == first, 3, "the name of a root document")
    return chain


def key_of(chain: list[dict[str, Any]], keyid: str) -> Any:
    return next((one["root"]["keys"][keyid] for one in chain if keyid in one["root"]["keys"]), None)


def counts(chain: list[dict[str, Any]], role: str, keyid: str, revoked: set[str], mark: tuple[int, int] | None) -> bool:
    """F-6.17, F-6.18 and F-13.6."""
    newest = chain[-1]["root"]
    leaver = newest.get("leave", {}).get(keyid)
    if keyid in revoked or (leaver and leaver["how"] == "revoked"):
        return False
    if leaver is None:
        return keyid in newest["roles"][role]["keys"]
    former = any(keyid in one["root"]["roles"][role]["keys"] for one in chain)
    last = leaver["last"]
    return former and mark is not None and mark <= (last["epoch"], last["sequence"])


def read_list(data: bytes | None, chain: list[dict[str, Any]]) -> dict[str, Any]:
    """The list in force, or an empty one."""
    if data is None:
        return {}
    kind = PAGE + "revocations.v1+json"
    payload, signatures = envelope(data, kind, MIB)
    good = set()
    for signature in signatures:
        key = key_of(chain, signature["keyid"])
        demand(key, 4, "signed by an unknown key")
        if known(key):
            holds(key, unbase64(signature["sig"]), encoding(kind, payload))
            good.add(signature["keyid"])
    demand(good, 4, "the list is not signed")
    found: dict[str, Any] = document(payload, LIST, MIB)
    demand(all(ascending(found.get(name, [])) for name in ("keys", "releases", "handlers")), 3, "not sorted")
    newest = chain[-1]["root"]
    demand(found["vendor"] == newest["vendor"], 4, "another vendor")
    counted = {keyid for keyid in good if counts(chain, "root", keyid, set(found.get("keys", [])), None)}
    if len(counted) < newest["roles"]["root"]["threshold"]:
        older = any(signed_by(one["root"]["roles"]["root"], good) for one in chain[:-1])
        demand(older, 4, "too few have signed the list")
        return {}
    return found


# --- sections 7 to 9 --------------------------------------------------------------------------------------------------


def read_signer(keyid: str, sig: bytes, bundle: bytes, release: bytes, chain: list[dict[str, Any]]) -> Any:
    key = key_of(chain, keyid)
    demand(key, 4, "signed by an unknown key")
    if not known(key):
        return None
    holds(key, sig, release)
    fields = document(bundle, SIGSTORE, MIB)
    hint = unbase64(fields["verificationMaterial"]["publicKey"]["hint"])
    demand(hint.hex() == keyid, 3, "the hint of another key")
    dsse = fields["dsseEnvelope"]
    payload = unbase64(dsse["payload"])
    holds(key, unbase64(dsse["signatures"][0]["sig"]), encoding(dsse["payloadType"], payload))
    statement = document(payload, STATEMENT, MIB)
    demand(statement["predicateType"] == "urn:waybill:release:1", 4, "predicateType")
    return statement


def read_signers(head: dict[str, Any], chain: list[dict[str, Any]], revoked: set[str]) -> dict[str, Any]:
    statements = {}
    for keyid, sig, bundle in head["signers"]:
        if sig is not None:  # F-7.17: this reader does not judge identities
            statements[keyid] = read_signer(keyid, sig, bundle, head["release"], chain)
    made = [one for one in statements.values() if one is not None]
    demand(made, 4, "not signed")
    statement: dict[str, Any] = made[0]
    demand(all(one == statement for one in made), 4, "two statements")
    newest, predicate = chain[-1]["root"], statement["predicate"]
    demand(predicate["root_version"] <= newest["version"], 4, "a root document was left out")
    demand(predicate["epoch"] <= newest["epoch"], 4, "an epoch that no root began")
    mark = (predicate["epoch"], predicate["sequence"])
    counted = [
        keyid for keyid, one in statements.items() if one is not None and counts(chain, "release", keyid, revoked, mark)
    ]
    demand(len(counted) >= newest["roles"]["release"]["threshold"], 4, "too few signers")
    demand(predicate["product"] in newest["roles"]["release"]["products"], 4, "product")
    return statement


def read_release(data: bytes, statement: dict[str, Any]) -> dict[str, Any]:
    release: dict[str, Any] = parse(data, 8 * MIB)
    blob = Shape({"digest": DIGEST, "size": whole(0)})
    extension = Shape({"critical": lambda value: isinstance(value, bool), "digest": DIGEST, "size": whole(0)})
    needed = {
        "type": exactly(PAGE + "release.v1+json"),
        "format": exactly(1),
        "bulk_at": lambda value: type(value) is int and 65536 <= value <= 32 * MIB and value % 65536 == 0,
        "members": many(blob, 2, 20_000),
        "needs": lambda value: (
            isinstance(value, dict) and fits(r"[0-9]{1,5}\.[0-9]{1,5}(\.[0-9]{1,5})?", value.get("verifier"))
        ),
    }
    demand(isinstance(release, dict), 3, "no object")
    demand(all(name in release and fits(check, release[name]) for name, check in needed.items()), 3, "fields")
    extensions = table(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}", extension, 1, 256)
    demand("extensions" not in release or extensions(release["extensions"]), 3, "extensions")
    blobs = [one["digest"] for one in release["members"][2:]]
    demand(len(set(blobs)) == len(blobs), 3, "a blob twice")
    predicate = {name: release.get(name) for name in ("product", "version", "channel", "epoch", "sequence", "format")}
    predicate |= {"root_version": release["needs"].get("trust_root"), "kits": release.get("kits", [])}
    demand(predicate == statement["predicate"], 3, "the equal fields")
    demand(statement["subject"][0]["name"] == "release.json", 3, "the name of the subject")
    return release


def check_bulk(data: bytes, release: dict[str, Any]) -> None:
    names = ["index.json", "VERIFY.txt"] + ["blobs/sha256/" + one["digest"][7:] for one in release["members"][2:]]
    wanted = list(zip(names, release["members"], strict=True))
    at, missing = release["bulk_at"], False
    while True:
        block = data[at : at + BLOCK]
        if len(block) < BLOCK or not block.strip(b"\0"):
            break
        while wanted and header(wanted[0][0], wanted[0][1]["size"]) != block:
            wanted.pop(0)
            missing = True
        demand(wanted, 7, "not a member, or not in its place")
        size = wanted.pop(0)[1]
        content = data[at + BLOCK : at + BLOCK + size["size"]]
        padding = data[at + BLOCK + size["size"] : at + BLOCK + size["size"] + -size["size"] % BLOCK]
        demand(digest(content) == size["digest"] and not padding.strip(b"\0"), 7, "other bytes, or cut")
        at += BLOCK + len(content) + -size["size"] % BLOCK
    cut = at + BLOCK > len(data)
    demand(data[at:] == bytes(1024) or (cut and (wanted or missing)), 7, "the end of the archive")
    demand(release["members"][1]["digest"] == VERIFY_TXT, 3, "VERIFY.txt")
    demand(not wanted and not missing, 7, "incomplete")


def verify(data: bytes, pin: str, pin_version: int = 0) -> None:
    """Raise Refused with the exit code unless the vendor signed the release and every byte of the bundle is there."""
    head = read_head(data)
    chain = read_chain(head["roots"], pin, pin_version, head["first"])
    listed = read_list(head["list"], chain)
    statement = read_signers(head, chain, set(listed.get("keys", [])))
    demand(statement["predicate"]["format"] <= 1, 8, "a later format")
    demand(statement["subject"][0]["digest"]["sha256"] == digest(head["release"])[7:], 4, "another release.json")
    release = read_release(head["release"], statement)
    demand(release["bulk_at"] == head["length"], 3, "bulk_at")
    needed = tuple(int(part) for part in release["needs"]["verifier"].split("."))
    demand(needed <= VERSION, 8, "a newer verifier is needed")
    demand(not any(one["critical"] for one in release.get("extensions", {}).values()), 8, "a critical extension")
    demand(digest(head["release"]) not in listed.get("releases", []), 5, "the release is revoked")
    check_bulk(data, release)


if __name__ == "__main__":
    try:
        verify(Path(sys.argv[1]).read_bytes(), sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 0)
    except Refused as refused:
        print(refused)
        sys.exit(refused.code)
    print("signed by the vendor, and every byte is there")
