"""Taking bundles apart and putting them together wrongly; and the one way in which tests ask for a verdict."""

import io
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from content.bundle.archive import BLOCK, END, header, padded, parse_header
from content.bundle.head import Head, Signature
from content.bundle.head_writer import encode_head
from content.trust.head import Known
from manifests.trust.envelope import INTOTO, pae
from manifests.trust.envelope_writer import wrap_signature
from manifests.trust.keys import PublicKey
from manifests.trust.private_keys import FileSigner
from manifests.trust.root import Chain, Pin
from manifests.words.digest import digest_of
from manifests.words.errors import WaybillError
from manifests.words.progress import no_progress
from tests.vendor import Vendor, bulk
from verifier.trust.anchor import TrustAnchor
from verifier.trust.bundle import VerifiedBundle, VerifyRequest, verify_path, verify_pipe
from verifier.trust.findings import refusal
from verifier.trust.release_rules import SiteFacts

NOW = datetime(2026, 1, 3, tzinfo=UTC)


@dataclass(frozen=True)
class Case:
    """A bundle, whom its reader trusts, and what the reader's site knows."""

    bundle: bytes
    pin: Pin
    site: SiteFacts | None = None
    held: frozenset[str] = frozenset()
    known: Known | None = None

    @property
    def request(self) -> VerifyRequest:
        """How the program is asked about it."""
        return request(self.pin, self.site, known=self.known, held=self.held)

    def but(self, bundle: bytes) -> "Case":
        """Another bundle before the same reader."""
        return replace(self, bundle=bundle)


@dataclass(frozen=True)
class Paper:
    """A document that is no part of a bundle, and before whom it comes.

    Attributes:
        raw: Its bytes, from published keys and fixed dates.
        judge: Asks the program itself, and passes on what that raises; says what came of a good one, if there is more
            than one way to be good.
        kind, given: What the folder of plain files says of it; a document without a kind is not written there.
    """

    raw: bytes
    judge: Callable[[bytes], str]
    kind: str = ""
    given: Mapping[str, Any] = field(default_factory=dict)


Variants = Mapping[str, Callable[[], Case | Paper]]


def given_key(key: PublicKey) -> dict[str, Any]:
    """How a public key is given to the reader of a document."""
    return {"key": {"algorithm": key.algorithm, "public": key.public}}


def given_chain(chain: Chain) -> dict[str, Any]:
    """How a trust chain is given to the reader of a document: pinned to its first root document."""
    first = chain.roots[0]
    return {
        "roots": tuple(one.raw for one in chain.roots),
        "pin": {"version": first.root.version, "digest": first.fingerprint},
        "revoked_keys": sorted(chain.revoked),
    }


@dataclass(frozen=True)
class Part:
    """One member; ``head`` is its header when that is not the proper one."""

    name: str
    data: bytes
    head: bytes | None = None

    @property
    def raw(self) -> bytes:
        return (self.head or header(self.name, len(self.data))) + self.data + bytes(-len(self.data) % BLOCK)


def split(bundle: bytes) -> list[Part]:
    """The members of a good bundle, the reserve among them."""
    parts, at = [], 0
    while bundle[at : at + BLOCK].strip(b"\0"):
        name, size = parse_header(bundle[at : at + BLOCK], "split")
        parts.append(Part(name, bundle[at + BLOCK : at + BLOCK + size]))
        at += BLOCK + padded(size)
    return parts


def join(parts: list[Part], end: bytes = END) -> bytes:
    return b"".join(part.raw for part in parts) + end


def refit(parts: list[Part]) -> list[Part]:
    """The parts with the reserve as long as brings the bulk back to a multiple of 64 KiB."""
    at = next(i for i, part in enumerate(parts) if part.name == "reserve")
    used = sum(len(part.raw) for part in parts[:at]) + BLOCK
    return [*parts[:at], Part("reserve", bytes(-used % 65536)), *parts[at + 1 :]]


def edit(bundle: bytes, name: str, change: Callable[[bytes], bytes]) -> bytes:
    """The bundle with other bytes in one member, everything else proper."""
    parts = split(bundle)
    found = [part for part in parts if part.name == name]
    assert len(found) == 1, f"{name} is not a member"
    changed = change(found[0].data)
    assert changed != found[0].data, "nothing was changed"
    made = [Part(name, changed) if part.name == name else part for part in parts]
    in_head = made.index(Part(name, changed)) < next(i for i, part in enumerate(made) if part.name == "reserve")
    return join(refit(made) if in_head else made)


def swap(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    """A change for ``edit``: the first ``old`` becomes ``new``."""

    def change(data: bytes) -> bytes:
        assert old in data, f"{old!r} is not there"
        return data.replace(old, new, 1)

    return change


def sign_bytes(release: bytes, payload: bytes, signer: FileSigner) -> Signature:
    """A pair by a signer that signs whatever it is given."""
    bundle = wrap_signature(payload, signer.sign(pae(INTOTO, payload)), signer.public)
    return Signature(keyid=signer.public.keyid, sig=signer.sign(release), bundle=bundle)


def signed(
    vendor: Vendor,
    *,
    release: Callable[[bytes], bytes] | None = None,
    payload: Callable[[bytes], bytes] | None = None,
    head: Callable[[Head], Head] | None = None,
) -> bytes:
    """The vendor's bundle with a changed ``release.json`` or statement, well signed all the same."""
    made = vendor.head()
    raw = release(made.release) if release else made.release
    pairs = []
    for signer in vendor.signers:
        from manifests.trust.envelope import bundle_payload

        said = next(one for one in made.signatures if one.keyid == signer.public.keyid)
        text = bundle_payload(said.bundle, "statement")
        text = text.replace(digest_of(made.release)[7:].encode(), digest_of(raw)[7:].encode())
        pairs.append(sign_bytes(raw, payload(text) if payload else text, signer))
    made = replace(made, release=raw, signatures=tuple(sorted(pairs, key=lambda one: one.keyid)))
    if head:
        made = head(made)
    document, blobs, index = vendor.release()
    return encode_head(made) + bulk(document, blobs, index)


def request(
    pin: Pin, site: SiteFacts | None = None, *, known: Known | None = None, now: datetime = NOW, **more: Any
) -> VerifyRequest:
    """What a bundle is judged by: the pin, what the reader's site knows, and a clock."""
    return VerifyRequest(TrustAnchor(pin, known or Known(), facts=site), now, no_progress, **more)


@contextmanager
def memory_file(data: bytes) -> Iterator[tuple[int, Path]]:
    """A file that is on no disk: its descriptor, and a path that opens it."""
    descriptor = os.memfd_create("bundle")
    try:
        os.write(descriptor, data)
        yield descriptor, Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def judge_file(path: Path, case: Case) -> VerifiedBundle:
    return verify_path(path, case.request)


def judge_pipe(data: bytes, case: Case) -> VerifiedBundle:
    return verify_pipe(io.BytesIO(data), case.request)


@dataclass(frozen=True)
class Outcome:
    """Attributes: kind: ``ok``, or the class and the finding of the failure; where: its place; text: its message."""

    kind: str
    where: str = ""
    text: str = ""

    @property
    def good(self) -> bool:
        return self.kind.startswith("ok")

    @property
    def line(self) -> str:
        return f"{self.kind} at {self.where}" if self.where else self.kind


def outcome(judge: Callable[[], VerifiedBundle]) -> Outcome:
    """What came of it. Any exception that is no result is a bug and passes through."""
    try:
        found = judge()
    except WaybillError as error:
        return _failed(error)
    failed = refusal(found.findings)
    if failed is not None:
        return _failed(failed)
    assert found.end != "incomplete"
    return Outcome("ok" if found.end == "complete" else f"ok {found.end}")


def _failed(error: WaybillError) -> Outcome:
    where = re.sub(r"/proc/self/fd/[0-9]+|standard input", "bundle", error.where)
    where = re.sub(r"\S*/vector-[^/]+/", "", where)
    return Outcome(f"{type(error).__name__} {error.finding}", where, str(error))


@contextmanager
def folder() -> Iterator[Path]:
    """An empty folder that is gone afterwards, and is not named in a verdict."""
    with TemporaryDirectory(prefix="vector-") as name:
        yield Path(name)


def from_paper(paper: Paper) -> Outcome:
    try:
        return Outcome(f"ok {paper.judge(paper.raw)}".strip())
    except WaybillError as error:
        return _failed(error)


def verdict(made: Case | Paper) -> Outcome:
    """Of a bundle, as a file."""
    return from_file(made) if isinstance(made, Case) else from_paper(made)


def from_file(case: Case) -> Outcome:
    with memory_file(case.bundle) as (_, path):
        return outcome(lambda: judge_file(path, case))


def from_pipe(case: Case) -> Outcome:
    return outcome(lambda: judge_pipe(case.bundle, case))
