"""Vectors: the archive itself, head and bulk."""

import gzip
import io
import tarfile
from collections.abc import Callable
from functools import cache

from content.bundle.archive import BLOCK, END, header
from manifests.documents.release import MAX_HEAD
from tests.vectors.surgery import Case, Part, edit, join, refit, split, swap
from tests.vendor import RELEASE, SECOND, Vendor

GOOD = Vendor(signers=(RELEASE, SECOND))
HEX = "a" * 64


@cache
def good() -> Case:
    return Case(GOOD.bundle(), GOOD.pin())


def made(parts: list[Part], end: bytes = END) -> Case:
    return good().but(join(parts, end))


def place(name: str) -> int:
    return next(i for i, part in enumerate(split(good().bundle)) if part.name == name)


def first_blob() -> str:
    return next(part.name for part in split(good().bundle) if part.name.startswith("blobs/"))


def checksummed(block: bytes) -> bytes:
    """The header with the checksum that its other bytes ask for."""
    total = sum(block[:148]) + 8 * 32 + sum(block[156:])
    return block[:148] + b"%06o\0 " % total + block[156:]


def patched(at: int, value: bytes) -> Callable[[bytes], bytes]:
    def change(block: bytes) -> bytes:
        return checksummed(block[:at] + value + block[at + len(value) :])

    return change


def named(name: bytes) -> Callable[[bytes], bytes]:
    return patched(0, name.ljust(100, b"\0"))


HEADERS: dict[str, Callable[[bytes], bytes]] = {
    "symlink": lambda block: patched(157, b"/etc/passwd")(patched(156, b"2")(block)),
    "hardlink": lambda block: patched(157, b"release.json")(patched(156, b"1")(block)),
    "character-device": patched(156, b"3"),
    "block-device": patched(156, b"4"),
    "folder": patched(156, b"5"),
    "fifo": patched(156, b"6"),
    "contiguous": patched(156, b"7"),
    "old-regular": patched(156, b"\0"),
    "pax": patched(156, b"x"),
    "pax-global": patched(156, b"g"),
    "gnu-long-name": patched(156, b"L"),
    "gnu-long-link": patched(156, b"K"),
    "gnu-sparse": patched(156, b"S"),
    "gnu-magic": patched(257, b"ustar  \0"),
    "prefix": patched(345, b"elsewhere"),
    "mode": patched(100, b"0000755\0"),
    "owner": patched(108, b"0001750\0"),
    "time": patched(136, b"14000000000\0"),
    "owner-name": patched(265, b"root"),
    "device-number": patched(329, b"0000001\0"),
    "tail-of-block": patched(511, b"\1"),
    "checksum": lambda block: block[:148] + b"000000\0 " + block[156:],
    "checksum-with-spaces": lambda block: block[:148] + b" " + block[149:],
    "size-base-256-for-a-small-one": lambda block: patched(124, b"\x80" + int(block[124:135], 8).to_bytes(11, "big"))(
        block
    ),
    "size-negative": patched(124, b"\xff" * 12),
    "size-with-spaces": lambda block: patched(124, b"%11o " % int(block[124:135], 8))(block),
    "size-with-sign": lambda block: patched(124, b"+%010o\0" % int(block[124:135], 8))(block),
    "size-unended": lambda block: patched(124, b"%012o" % int(block[124:135], 8))(block),
    "name-traversal": named(b"../../../etc/passwd"),
    "name-absolute": named(b"/etc/passwd"),
    "name-backslash": named(b"..\\..\\etc"),
    "name-drive": named(b"C:evil"),
    "name-nul-inside": named(b"a\0b"),
    "name-not-ascii": named("ä".encode()),
    "name-unended": patched(0, b"n" * 100),
}


def with_header(name: str, change: Callable[[bytes], bytes]) -> Callable[[], Case]:
    def make() -> Case:
        parts = split(good().bundle)
        at = place(name)
        proper = header(name, len(parts[at].data))
        parts[at] = Part(name, parts[at].data, change(proper))
        assert parts[at].head != proper
        return made(parts)

    return make


def with_member(before: str, name: str, data: bytes = b"x") -> Callable[[], Case]:
    def make() -> Case:
        parts = split(good().bundle)
        at = place(before) if before else len(parts)
        parts.insert(at, Part(name, data))
        return made(refit(parts) if before in ("release.json", "reserve") or before.startswith("trust") else parts)

    return make


def renamed(old: str, new: str) -> Callable[[], Case]:
    def make() -> Case:
        return made([Part(new if part.name == old else part.name, part.data) for part in split(good().bundle)])

    return make


def without(*names: str) -> Callable[[], Case]:
    def make() -> Case:
        parts = [part for part in split(good().bundle) if part.name not in names]
        return made(refit(parts) if "reserve" not in names else parts)

    return make


def ordered(*order: int) -> Callable[[], Case]:
    """The signature files in another order: 0 and 1 are the first signer's pair, 2 and 3 the second's."""

    def make() -> Case:
        parts = split(good().bundle)
        return made([*parts[:2], *(parts[2 + i] for i in order), *parts[6:]])

    return make


def claims(name: str, size: int) -> Callable[[], Case]:
    """A header that announces far more than follows: the cap must speak before anything is read."""

    def make() -> Case:
        parts = split(good().bundle)
        at = place(name)
        return made([*parts[:at], Part(name, b"", header(name, size))])

    return make


def many(names: list[str]) -> Callable[[], Case]:
    def make() -> Case:
        parts = split(good().bundle)
        return made(refit([*parts[:2], *(Part(name, b"x") for name in names), *parts[place("reserve") :]]))

    return make


def bulk_edit(change: Callable[[list[Part]], list[Part]], end: bytes = END) -> Callable[[], Case]:
    def make() -> Case:
        parts = split(good().bundle)
        at = place("reserve") + 1
        return made([*parts[:at], *change(parts[at:])], end)

    return make


def padding(name: str) -> Callable[[], Case]:
    def make() -> Case:
        parts = split(good().bundle)
        at = sum(len(part.raw) for part in parts[: place(name) + 1]) - 1
        assert good().bundle[at] == 0 and len(parts[place(name)].data) % BLOCK
        return good().but(good().bundle[:at] + b"\1" + good().bundle[at + 1 :])

    return make


def repacked(format_: int) -> Callable[[], Case]:
    """The same members by another writer."""

    def make() -> Case:
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w", format=format_) as tar:
            for part in split(good().bundle):
                info = tarfile.TarInfo(part.name)
                info.size, info.mtime = len(part.data), 1_700_000_000
                tar.addfile(info, io.BytesIO(part.data))
        return good().but(raw.getvalue())

    return make


def raw(change: Callable[[bytes], bytes]) -> Callable[[], Case]:
    return lambda: good().but(change(good().bundle))


def pax(size: int) -> bytes:
    """A PAX header that gives the next member another size than its own header does (RUSTSEC-2025-0111)."""
    record = b" size=%d\n" % size
    record = b"%d%s" % (len(record) + len(str(len(record) + 2)), record)
    block = patched(156, b"x")(header("PaxHeaders/next", len(record)))
    return block + record + bytes(-len(record) % BLOCK)


def gnu_name(name: str) -> bytes:
    data = name.encode() + b"\0"
    block = patched(156, b"L")(header("././@LongLink", len(data)))
    return block + data + bytes(-len(data) % BLOCK)


def put_before(name: str, data: bytes) -> Callable[[], Case]:
    """These blocks right before the header of a member."""

    def make() -> Case:
        whole = good().bundle
        at = sum(len(part.raw) for part in split(whole)[: place(name)])
        return good().but(whole[:at] + data + whole[at:])

    return make


def cut_at(name: str, extra: int) -> Callable[[], Case]:
    """The bundle ends so many bytes after the beginning of a member."""

    def make() -> Case:
        whole = good().bundle
        return good().but(whole[: sum(len(part.raw) for part in split(whole)[: place(name)]) + extra])

    return make


def held(case: Callable[[], Case], *names: str) -> Callable[[], Case]:
    """The same bundle at a site that holds these members already."""

    def make() -> Case:
        from dataclasses import replace

        return replace(case(), held=frozenset(name.replace("blobs/sha256/", "sha256:") for name in names))

    return make


def last_blob() -> str:
    return split(good().bundle)[-1].name


def cut_in_last(held_too: bool) -> Callable[[], Case]:
    def make() -> Case:
        short = raw(lambda data: data[: -len(END) - BLOCK])
        return held(short, last_blob())() if held_too else short()

    return make


def reserve(change: Callable[[bytes], bytes]) -> Callable[[], Case]:
    def make() -> Case:
        parts = split(good().bundle)
        at = place("reserve")
        return made([*parts[:at], Part("reserve", change(parts[at].data)), *parts[at + 1 :]])

    return make


def signature(at: int) -> str:
    """The name of a signature file: 0 and 1 of the first signer, 2 and 3 of the second."""
    return split(good().bundle)[2 + at].name


TOPICS: dict[str, tuple[str, dict[str, Callable[[], Case]]]] = {
    "good": (
        "Right bundles, to show that what follows is refused for its own reason; like all the rest, with one verdict "
        "from a file and from a pipe (F-9.8).",
        {
            "two-signers": good,
            "one-signer": lambda: Case(Vendor().bundle(), Vendor().pin()),
            "without-images": lambda: Case(Vendor(images=False).bundle(), Vendor(images=False).pin()),
            "long-reserve": lambda: Case(Vendor(reserve=200_000).bundle(), Vendor().pin()),
        },
    ),
    "tar-header-in-head": (
        "The header of release.json is one that our writer would not have made. A header is name and size and nothing "
        "else (F-2.2), a size has one spelling (F-2.3).",
        {name: with_header("release.json", change) for name, change in HEADERS.items()},
    ),
    "tar-header-in-bulk": (
        "The same headers before a blob, under a trusted head: damage, not another format (F-2.2, F-2.3, F-9.3).",
        {name: with_header(first_blob(), change) for name, change in HEADERS.items()},
    ),
    "not-a-bundle": (
        "Files that are something else (F-2.1).",
        {
            "empty": raw(lambda _: b""),
            "public-key": raw(lambda _: b"-----BEGIN PUBLIC KEY-----\n".ljust(178, b"A")),
            "shorter-than-a-header": raw(lambda data: data[: BLOCK - 1]),
            "page": raw(lambda _: b"<html>" + bytes(2000)),
            "gzip": raw(lambda data: gzip.compress(data, mtime=0)),
            "zstandard": raw(lambda data: b"\x28\xb5\x2f\xfd" + data),
            "repacked-pax": repacked(tarfile.PAX_FORMAT),
            "repacked-gnu": repacked(tarfile.GNU_FORMAT),
            "repacked-ustar": repacked(tarfile.USTAR_FORMAT),
            "inside-another-tar": raw(lambda data: header("bundle.tar", len(data)) + data + END),
            "byte-before": raw(lambda data: b"\0" + data),
            "zeros": raw(lambda data: bytes(len(data))),
        },
    ),
    "head-members": (
        "The head has its members in one order and no others: oci-layout is a constant (F-3.1), release.json follows "
        "(F-3.2), signatures are pairs by key id (F-3.3), root documents are consecutive (F-3.5), revocations.json "
        "comes after them (F-3.8), the reserve is last (F-3.9), and any other name refuses (F-3.10).",
        {
            "oci-layout-other": raw(lambda data: edit(data, "oci-layout", swap(b"1.0.0", b"1.0.1"))),
            "release-missing": without("release.json"),
            "release-twice": with_member("reserve", "release.json"),
            "signature-without-bundle": without(signature(1)),
            "bundle-without-signature": without(signature(0)),
            "signatures-by-kind": ordered(0, 2, 1, 3),
            "signatures-bundle-first": ordered(1, 0, 3, 2),
            "signers-swapped": ordered(2, 3, 0, 1),
            "signer-twice": ordered(0, 1, 0, 1),
            "signature-name-upper-case": renamed(signature(0), "signatures/" + signature(0)[11:75].upper() + ".sig"),
            "signature-name-short": with_member("trust/1.root.json", f"signatures/{HEX[:63]}.sig"),
            "signature-after-roots": with_member("reserve", f"signatures/{HEX}.sig"),
            "signature-other-kind": with_member("trust/1.root.json", f"signatures/{HEX}.asc"),
            "roots-missing": without("trust/1.root.json"),
            "root-twice": with_member("reserve", "trust/1.root.json"),
            "root-gap": with_member("reserve", "trust/3.root.json"),
            "root-zero": renamed("trust/1.root.json", "trust/0.root.json"),
            "root-leading-zero": renamed("trust/1.root.json", "trust/01.root.json"),
            "root-traversal": renamed("trust/1.root.json", "trust/../1.root.json"),
            "root-after-revocations": with_member("trust/1.root.json", "revocations.json"),
            "blob-in-head": with_member("reserve", f"blobs/sha256/{HEX}"),
            "stranger-in-head": with_member("reserve", "README"),
            "reserve-missing": without("reserve"),
            "reserve-twice": with_member("index.json", "reserve"),
            "reserve-not-zero": reserve(lambda data: data[:-1] + b"\1"),
            "reserve-not-aligned": reserve(lambda data: data[BLOCK:]),
            "padding-not-zero": padding("release.json"),
        },
    ),
    "head-caps": (
        "Each part of the head has a cap that is compared with the header before anything is read: release.json 16 "
        "MiB (F-3.2), 128 signers with files of 1 MiB (F-3.3), 256 root documents of 256 KiB (F-3.5), revocations 1 "
        "MiB (F-3.8), the head as a whole 32 MiB (F-3.11).",
        {
            "release": claims("release.json", (8 << 20) + 1),
            "release-nine-gigabytes": claims("release.json", 9 << 30),
            "signature": claims(signature(0), (1 << 20) + 1),
            "bundle": claims(signature(1), (1 << 20) + 1),
            "root": claims("trust/1.root.json", (256 << 10) + 1),
            "reserve": claims("reserve", MAX_HEAD),
            "signers": many([f"signatures/{i:064x}.{kind}" for i in range(129) for kind in ("sig", "sigstore.json")]),
            "roots": many([f"trust/{i}.root.json" for i in range(1, 258)]),
        },
    ),
    "head-length": (
        "The head is as long as the trusted release.json says (F-3.13).",
        {"longer-reserve": reserve(lambda data: data + bytes(65536))},
    ),
    "bulk-members": (
        "After the head come exactly the members of release.json, in order (F-9.2), each behind its one header "
        "(F-9.3), with its digest (F-9.4), zeros to the end of its block (F-2.4), and two blocks of zeros at the end "
        "(F-2.5). What is missing is named (F-9.7).",
        {
            "content": bulk_edit(lambda parts: [*parts[:-1], Part(parts[-1].name, b"\1" + parts[-1].data[1:])]),
            "content-of-index": bulk_edit(lambda parts: [Part("index.json", b" " + parts[0].data[1:]), *parts[1:]]),
            "shorter": bulk_edit(lambda parts: [*parts[:-1], Part(parts[-1].name, parts[-1].data[:-1])]),
            "longer": bulk_edit(lambda parts: [*parts[:-1], Part(parts[-1].name, parts[-1].data + b"\1")]),
            "padding-not-zero": padding("index.json"),
            "swapped": bulk_edit(lambda parts: [*parts[:3], parts[4], parts[3], *parts[5:]]),
            "twice": bulk_edit(lambda parts: [*parts[:4], parts[3], *parts[4:]]),
            "unlisted": bulk_edit(lambda parts: [*parts, Part(f"blobs/sha256/{HEX}", b"x")]),
            "unlisted-first": bulk_edit(lambda parts: [Part(f"blobs/sha256/{HEX}", b"x"), *parts]),
            "another-name": bulk_edit(lambda parts: [*parts[:-1], Part(f"blobs/sha256/{HEX}", parts[-1].data)]),
            "upper-case-name": bulk_edit(
                lambda parts: [*parts[:-1], Part(parts[-1].name[:13] + parts[-1].name[13:].upper(), parts[-1].data)]
            ),
            "end-missing": bulk_edit(lambda parts: parts, b""),
            "end-short": bulk_edit(lambda parts: parts, bytes(512)),
            "end-shorter": bulk_edit(lambda parts: parts, bytes(1023)),
            "end-long": bulk_edit(lambda parts: parts, bytes(1536)),
            "end-longer": bulk_edit(lambda parts: parts, bytes(1025)),
            "end-not-zero": bulk_edit(lambda parts: parts, bytes(1023) + b"\1"),
            "second-archive": raw(lambda data: data + data),
            "second-archive-after-one-block": raw(lambda data: data[:-512] + data),
            "index-missing": without("index.json"),
            "text-missing": without("VERIFY.txt"),
            "blob-missing": without(last_blob()),
            "all-missing": bulk_edit(lambda _: []),
            "nothing-after-head": bulk_edit(lambda _: [], b""),
        },
    ),
    "cut": (
        "A bundle that ends too early: in a header or a content of the head it is malformed (F-3.12), in the bulk "
        "incomplete (F-9.5, F-9.7).",
        {
            "head-after-nothing": cut_at("release.json", 0),
            "head-in-header": cut_at("release.json", 100),
            "head-after-header": cut_at("release.json", BLOCK),
            "head-in-content": cut_at("release.json", BLOCK + 100),
            "head-in-reserve": cut_at("reserve", 2 * BLOCK),
            "bulk-in-header": cut_at(last_blob(), 100),
            "bulk-after-header": cut_at(last_blob(), BLOCK),
            "bulk-in-content": cut_at(last_blob(), BLOCK + 1),
            "bulk-before-the-end": raw(lambda data: data[: -len(END)]),
        },
    ),
    "two-readers": (
        "What one reader of tar takes for a member and another does not: extended headers that give the next member "
        "another size or name, and names that a file system takes for the same. There is one kind of header (F-2.2), "
        "and one order of members (F-3.3, F-9.2).",
        {
            "head-pax-size": put_before("release.json", pax(1)),
            "head-pax-size-of-signature": put_before(signature(0), pax(4096)),
            "head-gnu-name": put_before("release.json", gnu_name("release.json")),
            "bulk-pax-size": put_before(last_blob(), pax(1)),
            "bulk-gnu-name": put_before(last_blob(), gnu_name("blobs/sha256/" + HEX)),
            "head-case-twin": with_member("reserve", "RELEASE.JSON"),
            "head-case-twin-of-root": with_member("reserve", "trust/1.ROOT.json"),
            "bulk-case-twin": bulk_edit(
                lambda parts: [*parts, Part(parts[-1].name[:13] + parts[-1].name[13:].upper(), parts[-1].data)]
            ),
            "bulk-unicode-twin": put_before(last_blob(), named("index\u2024json".encode())(header("index.json", 0))),
            "bulk-name-in-two-parts": put_before(last_blob(), patched(345, b"blobs")(header("sha256/" + HEX, 0))),
        },
    ),
    "delta": (
        "Members may be left out for a site that holds them (F-9.7), but only by a bundle that ends as a bundle does: "
        "one that was cut is incomplete whatever the site holds (F-9.5).",
        {
            "held": held(without(last_blob()), last_blob()),
            "held-two": held(without(first_blob(), last_blob()), first_blob(), last_blob()),
            "held-another": held(without(last_blob()), first_blob()),
            "cut": cut_in_last(held_too=False),
            "cut-and-held": cut_in_last(held_too=True),
            "cut-between-and-held": held(bulk_edit(lambda parts: parts[:-1], b""), last_blob()),
            "held-and-damaged": held(
                bulk_edit(lambda parts: [*parts[:-2], Part(parts[-2].name, b"\1" + parts[-2].data[1:])]), last_blob()
            ),
        },
    ),
}
