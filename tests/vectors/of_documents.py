"""Vectors: our JSON documents in every spelling but the right one, well signed wherever that is possible."""

import json
import re
from collections.abc import Callable
from dataclasses import replace

from content.bundle.head import Head
from manifests.trust.envelope_writer import encode_root, seal
from manifests.trust.keys import encode_base64
from manifests.trust.revocations import REVOCATIONS_TYPE, Revocations
from manifests.trust.root import ROOT_TYPE, Pin
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from tests.vectors.of_tar import signature
from tests.vectors.surgery import Case, edit, signed
from tests.vendor import RELEASE, ROOT, SECOND, Vendor

GOOD = Vendor(signers=(RELEASE, SECOND))
_PAIR = re.compile(rb'"([A-Za-z_]+)":("[^"]*"|[0-9]+)')


def _first_pair(data: bytes) -> bytes:
    found = _PAIR.search(data)
    assert found
    return found.group()


def _at_end(text: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data[:-1] + text + b"}"


def _integer(value: bytes) -> Callable[[bytes], bytes]:
    """The first integer of the document becomes ``value``."""
    return lambda data: re.sub(rb'":([1-9][0-9]*)', b'":' + value, data, count=1)


def _reordered(data: bytes) -> bytes:
    """The same values with the outermost keys the other way round."""
    pairs = json.loads(data).items()
    return json.dumps(dict(reversed(pairs)), separators=(",", ":"), ensure_ascii=False).encode()


# What any document of ours must refuse, whatever it is about.
SPELLINGS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "array": lambda data: b"[" + data + b"]",
    "byte-order-mark": lambda data: b"\xef\xbb\xbf" + data,
    "utf-16": lambda data: data.decode().encode("utf-16"),
    "not-utf-8": lambda data: data.replace(b'":"', b'":"\xff', 1),
    "surrogate": lambda data: data.replace(b'":"', b'":"\\ud800', 1),
    "space": lambda data: data.replace(b":", b": ", 1),
    "newline-after": lambda data: data + b"\n",
    "garbage-after": lambda data: data + b"x",
    "second-document": lambda data: data + data,
    "comma-after": _at_end(b","),
    "comment": lambda data: data + b"//",
    "escape": lambda data: data.replace(_first_pair(data)[1:2], b"\\u%04x" % _first_pair(data)[1], 1),
    "duplicate-key": lambda data: data.replace(_first_pair(data), _first_pair(data) + b"," + _first_pair(data), 1),
    "unsorted": _reordered,
    "unknown-field": _at_end(b',"zz":1'),
    "null-field": _at_end(b',"zz":null'),
    "deep": _at_end(b',"zz":' + b"[" * 1000 + b"]" * 1000),
    "deep-and-open": _at_end(b',"zz":' + b"[" * 10_000),
    "control-character": lambda data: data.replace(b'":"', b'":"\x01', 1),
}
# What those with integers must refuse too.
NUMBERS: dict[str, Callable[[bytes], bytes]] = {
    "float": _integer(b"1.0"),
    "nan": _integer(b"NaN"),
    "exponent": _integer(b"1e0"),
    "true-for-one": _integer(b"true"),
    "text-for-one": _integer(b'"1"'),
    "leading-zero": _integer(b"01"),
    "minus-zero": _integer(b"-0"),
    "negative": _integer(b"-1"),
    "beyond-2-53": _integer(b"9007199254740992"),
    "beyond-2-64": _integer(b"99999999999999999999"),
    "five-thousand-digits": _integer(b"9" * 5000),
}


def of_release(change: Callable[[bytes], bytes]) -> Callable[[], Case]:
    return lambda: Case(signed(GOOD, release=change), GOOD.pin())


def of_statement(change: Callable[[bytes], bytes]) -> Callable[[], Case]:
    return lambda: Case(signed(GOOD, payload=change), GOOD.pin())


def of_sigstore(change: Callable[[bytes], bytes]) -> Callable[[], Case]:
    return lambda: Case(edit(GOOD.bundle(), signature(1), change), GOOD.pin())


def of_root(change: Callable[[bytes], bytes]) -> Callable[[], Case]:
    """The payload is changed before it is signed, and the reader's paper names the changed one."""

    def make() -> Case:
        payload = change(encode_root(GOOD.root()))
        file = seal(payload, ROOT_TYPE, (ROOT,))
        made = signed(GOOD, head=lambda head: replace(head, roots=(file,)))
        return Case(made, Pin(version=1, digest=digest_of(payload)))

    return make


def of_envelope(change: Callable[[bytes], bytes]) -> Callable[[], Case]:
    return lambda: Case(edit(GOOD.bundle(), "trust/1.root.json", change), GOOD.pin())


def of_revocations(change: Callable[[bytes], bytes]) -> Callable[[], Case]:
    def make() -> Case:
        payload = change(encode(Revocations(vendor="small-works", version=1)))
        file = seal(payload, REVOCATIONS_TYPE, (ROOT,))

        def put(head: Head) -> Head:
            return replace(head, revocations=file)

        return Case(signed(GOOD, head=put), GOOD.pin())

    return make


def _all(
    of: Callable[[Callable[[bytes], bytes]], Callable[[], Case]], *tables: dict[str, Callable[[bytes], bytes]]
) -> dict[str, Callable[[], Case]]:
    return {name: of(change) for table in tables for name, change in table.items()}


_RULES = (
    "One JSON value in UTF-8 (F-4.2), at most 32 deep (F-4.3), in canonical form (F-4.4), without floats, null or "
    "unbounded integers (F-4.5), without unknown fields (F-4.6)."
)

_B64 = re.compile(rb'"(payload|sig|hint|public)":"([A-Za-z0-9+/=]+)"')
BASE64: dict[str, Callable[[bytes], bytes]] = {
    "url-safe": lambda text: (
        text.translate(bytes.maketrans(b"+/", b"-_")) if set(b"+/") & set(text) else b"-" + text[1:]
    ),
    "newline-inside": lambda text: text[:8] + b"\\n" + text[8:],
    "newline-after": lambda text: text + b"\\n",
    "space": lambda text: text[:4] + b" " + text[4:],
    "too-much-padding": lambda text: text + b"====",
    "padding-inside": lambda text: text[:4] + b"====" + text[4:],
    "no-padding": lambda text: text.rstrip(b"=") if text.endswith(b"=") else text[:-1],
    "slack-bits": lambda text: _slack(text),
    "not-base64": lambda text: b"*" + text[1:],
    "empty": lambda _: b"",
}
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def _slack(text: bytes) -> bytes:
    """Another last character before the padding that a lenient reader decodes to the same bytes."""
    bare = text.rstrip(b"=")
    assert len(bare) < len(text), "no slack in a whole group"
    return bare[:-1] + _ALPHABET[_ALPHABET.index(bare[-1:]) + 1 :][:1] + text[len(bare) :]


def _field(name: str, change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    def swap(data: bytes) -> bytes:
        found = next(one for one in _B64.finditer(data) if one[1] == name.encode())
        return data[: found.start(2)] + change(found[2]) + data[found.end(2) :]

    return swap


def _padded_statement(change: Callable[[bytes], bytes]) -> Callable[[], Case]:
    """The statement is as long as leaves slack in its base64, whatever the keys."""
    vendor = next(one for one in (Vendor(channel="s" * n) for n in (6, 7, 8)) if _payload(one).endswith(b"="))
    name = f"signatures/{RELEASE.public.keyid}.sigstore.json"
    return lambda: Case(edit(vendor.bundle(), name, _field("payload", change)), vendor.pin())


def _payload(vendor: Vendor) -> bytes:
    found = next(one for one in _B64.finditer(vendor.head().signatures[0].bundle) if one[1] == b"payload")
    return found[2]


def _padded_root(change: Callable[[bytes], bytes]) -> Callable[[], Case]:
    """A root whose payload leaves slack; the vendor's file is changed after signing."""
    from msgspec.structs import replace as struct_replace

    for length in (1, 2, 3):
        root = struct_replace(GOOD.root(), vendor="w" * length)
        payload = encode_root(root)
        if encode_base64(payload).endswith("="):
            break
    file = _field("payload", change)(seal(payload, ROOT_TYPE, (ROOT,)))
    return lambda: Case(
        signed(GOOD, head=lambda head: replace(head, roots=(file,))), Pin(version=1, digest=digest_of(payload))
    )


def _padded_sig(of: str, change: Callable[[bytes], bytes]) -> Callable[[], Case]:
    """DER signatures have 70 to 72 bytes; a release is taken whose signature is no whole number of groups."""

    def make() -> Case:
        for n in range(1, 50):
            vendor = Vendor(sequence=n)
            at = f"signatures/{RELEASE.public.keyid}.sigstore.json" if of == "sigstore" else "trust/1.root.json"
            vendor = vendor if of == "sigstore" else Vendor(epoch=n)
            text = vendor.head().signatures[0].bundle if of == "sigstore" else vendor.root_file()
            found = next(one for one in _B64.finditer(text) if one[1] == b"sig")
            if found[2].endswith(b"="):
                return Case(edit(vendor.bundle(), at, _field("sig", change)), vendor.pin())
        raise AssertionError("no signature with slack in fifty")

    return make


TOPICS: dict[str, tuple[str, dict[str, Callable[[], Case]]]] = {
    "json-release": (
        "release.json is well signed and spelled wrongly. " + _RULES,
        _all(of_release, SPELLINGS, NUMBERS),
    ),
    "json-statement": (
        "The in-toto Statement is well signed and spelled wrongly. " + _RULES,
        _all(of_statement, SPELLINGS, NUMBERS),
    ),
    "json-sigstore": ("The Sigstore bundle of a signer is spelled wrongly. " + _RULES, _all(of_sigstore, SPELLINGS)),
    "json-root": (
        "The payload of the pinned root is well signed and spelled wrongly. " + _RULES,
        _all(of_root, SPELLINGS, NUMBERS),
    ),
    "json-envelope": ("The envelope of the root is spelled wrongly. " + _RULES, _all(of_envelope, SPELLINGS)),
    "json-revocations": (
        "The revocation list is well signed and spelled wrongly. " + _RULES,
        _all(of_revocations, SPELLINGS, NUMBERS),
    ),
    "base64": (
        "Base64 has one spelling: the standard alphabet, whole groups, padding, no slack bits (F-5.1).",
        {
            **{f"statement-{name}": _padded_statement(change) for name, change in BASE64.items()},
            **{f"signature-{name}": _padded_sig("sigstore", change) for name, change in BASE64.items()},
            **{f"hint-{name}": of_sigstore(_field("hint", change)) for name, change in BASE64.items()},
            **{f"root-payload-{name}": _padded_root(change) for name, change in BASE64.items()},
            **{f"root-signature-{name}": _padded_sig("root", change) for name, change in BASE64.items()},
            **{f"key-{name}": of_root(_field("public", change)) for name, change in BASE64.items()},
        },
    ),
}
