"""Verify a bundle: trust first, on the head alone; then whether this site may take it; then every byte.

The order is docs/format.md, "Order of checks". Nothing here can open a network connection, and nothing is remembered:
`receive` and `install` judge again what they copied.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Literal

from content.bulk import Advance, Bulk, Kept, find_places, lost_tail, open_bundle, read_blob, verify_file, verify_stream
from content.damage import damage, recut
from content.graph import Graph, walk
from content.head import VERIFY_TXT, Head, Known, VerifiedHead, open_head, read_head, verify_head
from content.oci import MAX_MANIFEST_BYTES
from manifests.contract import Contract, parse_contract
from manifests.digest import Blob, digest_of
from manifests.errors import DamagedError, MalformedError, NewerError, RefusedError, UntrustedError, WaybillError
from manifests.release import Release
from manifests.revocations import handler_digest
from manifests.rollback import Rollback, parse_rollback
from manifests.trust import Mark, Pin
from manifests.units import show_size
from manifests.version import in_any

VERIFIER_VERSION = "0.1.0"
MAX_JUMP = 10_000
KNOWN_EXTENSIONS: frozenset[str] = frozenset()
# Hashed bytes of a blob that the site has.
Stored = Callable[[Blob], bytes]
Take = Callable[[int, Bulk], None]

Level = Literal["ok", "warning", "refused"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. ``id`` is stable; a ``refused`` one carries its failure."""

    id: str
    level: Level
    text: str
    error: WaybillError | None = None

    def line(self) -> str:
        return f"{self.level:<8} {self.id:<20} {self.text}"


@dataclass(frozen=True)
class SiteFacts:
    """What a site knows that decides whether a release is for it.

    Attributes:
        running: Version of the confirmed generation, or empty before the first install.
        running_release: Its digest.
        known: Digest by mark of every release of this stream that was received.
        highest: The mark: highest (epoch, sequence) seen.
        floor: Lowest still acceptable.
        time_floor: Latest time that a confirmed release stated (RFC 3339), or empty.
        others: What it knows of another channel that it is about to follow, by that channel's name.
    """

    customer: str
    product: str
    environment: str
    name: str
    channel: str
    pin: Pin
    practice: bool
    running: str = ""
    running_release: str = ""
    known: Mapping[Mark, str] = field(default_factory=dict)
    highest: Mark | None = None
    floor: Mark | None = None
    time_floor: str = ""
    others: Mapping[str, "SiteFacts"] = field(default_factory=dict)

    def towards(self, channel: str) -> "SiteFacts":
        """The facts by which a release of ``channel`` is judged."""
        return self.others.get(channel, self)


@dataclass(frozen=True)
class VerifiedBundle:
    """A bundle of which every byte that is there was checked.

    Attributes:
        end: ``complete``, ``complete with what this site holds``, or ``incomplete`` (then ``missing`` is not empty).
    """

    head: VerifiedHead
    bulk: Bulk
    graph: Graph | None
    contract: Contract | None
    rollback: Rollback | None
    end: Literal["complete", "complete with what this site holds", "incomplete"]
    missing: tuple[Blob, ...]
    findings: tuple[Finding, ...]


def refusal(findings: tuple[Finding, ...]) -> WaybillError | None:
    """The failure that decides the exit code."""
    return gravest(one.error for one in findings)


def gravest(errors: Iterable[WaybillError | None]) -> WaybillError | None:
    """Of several failures the one that decides the exit code: 3, then 4, then 8, then 5, then 7 (design, section 9)."""
    order = {3: 0, 4: 1, 8: 2, 5: 3, 7: 4}  # F-160
    return min((one for one in errors if one), key=lambda error: order.get(error.exit_code, 9), default=None)


def _ok(id_: str, text: str) -> Finding:
    return Finding(id=id_, level="ok", text=text)


def _no(id_: str, error: WaybillError) -> Finding:
    error.finding = id_
    return Finding(id=id_, level="refused", text=error.problem, error=error)


def judge_release(verified: VerifiedHead, site: SiteFacts | None, *, now: datetime) -> tuple[Finding, ...]:
    """Everything that follows from the head alone: who signed, for whom, which step, what time.

    Pure. Without a site only what is true everywhere is judged.
    """
    release = verified.release
    root = verified.chain.newest
    findings = [
        _ok("root", f"{root.vendor}, root {root.version}"),
        _ok("signatures", f"release signed by {', '.join(verified.chain.who(keyid) for keyid in verified.signers)}"),
    ]
    findings += [
        Finding("signature-not-evaluated", "warning", f"key {keyid[:12]}: its algorithm is not known here, not counted")
        for keyid in verified.not_evaluated
    ]
    findings += [
        Finding("signature-not-counted", "warning", f"key {keyid[:12]} signed well and is not counted: {_WHY[why]}")
        for keyid, why in verified.quorum.others
    ]
    findings += _judge_practice(verified, site)
    findings += _judge_understood(release, verified)
    findings += _judge_revoked(verified, site)
    if site is not None:
        site = site.towards(release.channel)
        findings += _judge_audience(release, site)
        findings += _judge_step(release, verified.release_digest, site)
    findings += _judge_time(release, site, now)
    return tuple(findings)


def _judge_practice(verified: VerifiedHead, site: SiteFacts | None) -> list[Finding]:
    if not verified.practice:
        return []
    if site is not None and not site.practice:  # F-161
        error = UntrustedError(
            "signed under a practice root, and this site is not enrolled for practice",
            where="trust",
            remedy="ask the vendor for a release signed under the real root",
        )
        return [_no("practice", error)]
    return [Finding("practice", "warning", "signed under a practice root, which vouches for nothing in earnest")]


def _judge_understood(release: Release, verified: VerifiedHead) -> list[Finding]:
    """Whatever this verifier could not judge is refused, never passed over."""
    findings = []
    error: WaybillError
    needed = tuple(int(part) for part in release.needs.verifier.split("."))
    if needed > tuple(int(part) for part in VERIFIER_VERSION.split(".")):  # F-101
        error = NewerError(
            f"the release needs verifier {release.needs.verifier}, this one is {VERIFIER_VERSION}",
            where="needs.verifier",
            remedy=f"use the vendor's newer verifier: {', '.join(release.kits) or 'ask the vendor'}",
        )
        findings.append(_no("verifier-too-old", error))
    for name, extension in sorted(release.extensions.items()):
        if extension.critical and name not in KNOWN_EXTENSIONS:  # F-100
            error = NewerError(
                f"critical extension {name!r} is unknown here",
                where="extensions",
                remedy="use the vendor's newer verifier; an older one cannot judge this release",
            )
            findings.append(_no("extension-critical", error))
        else:
            findings.append(
                Finding("extension-unknown", "warning", f"{name} ({extension.digest}), kept and not judged")
            )
    if release.asks_signers:
        from content.image_signers import signer_problems  # a release without signers does not pay for it

        for error in signer_problems(release, verified.chain.newest):
            findings.append(Finding(error.finding, "refused", error.problem, error))
    return findings


_WHY = {"revoked": "it is revoked", "retired": "it was retired before this release", "role": "it is not of this role"}


def _judge_revoked(verified: VerifiedHead, site: SiteFacts | None) -> list[Finding]:
    """What the newest list says of this release; one that runs already goes on, and is called what it is."""
    findings = []
    found = verified.revocations
    if verified.lists.ignored:
        findings.append(Finding("revocations-old", "warning", verified.lists.ignored))
    if found is None:
        return findings
    if verified.release_digest in found.releases:
        text = f"list {found.version} revokes this release"
        if site is not None and site.running_release == verified.release_digest:
            findings.append(Finding("running-revoked", "warning", text))
        else:
            error = RefusedError(  # F-157
                text, where="revocations", remedy="the vendor withdrew it; ask for a release that replaces it"
            )
            findings.append(_no("release-revoked", error))
    findings += [
        Finding("handler-revoked", "warning", f"list {found.version} revokes handler {one.name}; it will not be run")
        for one in verified.release.handlers
        if handler_digest(one) in found.handlers
    ]
    return findings or [_ok("revocations", f"list {found.version} has nothing against it")]


def _judge_audience(release: Release, site: SiteFacts) -> list[Finding]:
    if release.product != site.product:
        error = RefusedError(
            f"a release of {release.product}, this site runs {site.product}",
            where="product",
            remedy="it was cut for another site; ask the vendor for this one's",
        )
        return [_no("product", error)]
    audience = release.audience
    meant = audience.everyone or (site.customer in audience.customers and site.environment in audience.environments)
    if not meant:  # F-162
        error = RefusedError(
            f"meant for {', '.join(audience.customers)} in {', '.join(audience.environments)}; "
            f"this site is {site.customer} in {site.environment}",
            where="audience",
            remedy="the vendor's support can cut the release for this site",
        )
        return [_no("audience", error)]
    findings = [_ok("audience", "everyone" if audience.everyone else f"{site.customer} in {site.environment}")]
    if release.channel != site.channel:  # F-163
        error = RefusedError(
            f"channel {release.channel}, this site follows {site.channel}",
            where="channel",
            remedy=f"to change the channel, edit site.yaml: channel: {release.channel}",
        )
        findings.append(_no("channel", error))
    return findings


def _judge_step(release: Release, digest: str, site: SiteFacts) -> list[Finding]:
    """The stream: one digest for one mark, no jump that could be an attack, nothing below the floor, a known way."""
    mark = release.mark
    findings = []
    if site.known.get(mark, digest) != digest:  # F-164
        error = RefusedError(
            f"sequence {mark.sequence} is known here with another digest, {site.known[mark]}",
            where="sequence",
            remedy="two different releases claim one place; tell the vendor before anything else",
        )
        findings.append(_no("sequence-twice", error))
    if site.floor is not None and mark < site.floor and digest != site.running_release:  # F-165
        error = RefusedError(
            f"sequence {mark.sequence} is below the floor {site.floor.sequence} of this site",
            where="sequence",
            remedy="going below the floor needs the vendor's rollback authorisation",
        )
        findings.append(_no("below-floor", error))
    top = site.highest or site.floor
    if top is not None and mark.epoch == top.epoch and mark.sequence > top.sequence + MAX_JUMP:  # F-166
        error = RefusedError(
            f"sequence jumps from {top.sequence} to {mark.sequence}",
            where="sequence",
            remedy="nobody publishes so many at once: ask the vendor whether this release is theirs",
        )
        findings.append(_no("sequence-jump", error))
    if top is not None and mark < top:
        findings.append(Finding("newer-known", "warning", f"sequence {top.sequence} is already known here"))
    return findings or [_ok("sequence", f"{release.channel} {mark.sequence}")]


def judge_way(release: Release, site: SiteFacts) -> tuple[Finding, ...]:
    """Whether the running release may go straight to this one; asked by review and install, not by verify."""
    if not site.running:
        if release.needs.fresh:
            return (_ok("from", "may be a first release"),)
        error = RefusedError(
            "it may not be a site's first release",
            where="needs.fresh",
            remedy="install the release first that the vendor names for new sites",
        )
        return (_no("from", error),)
    if not in_any(site.running, release.needs.from_):
        error = RefusedError(
            f"{site.running} may not go straight to {release.version}, only {' or '.join(release.needs.from_)}",
            where="needs.from",
            remedy="install a release on the way first",
        )
        return (_no("from", error),)
    return (_ok("from", f"{site.running} to {release.version}"),)


def _judge_time(release: Release, site: SiteFacts | None, now: datetime) -> list[Finding]:
    """Times are shown and warned about; the wall clock is never a gate."""
    floor = site.time_floor if site is not None else ""  # F-168
    effective = max(now, datetime.fromisoformat(floor)) if floor else now
    findings = []
    if floor and now < datetime.fromisoformat(floor):
        findings.append(Finding("clock-behind", "warning", f"this host says {now:%F}, releases knew {floor[:10]}"))
    issued = datetime.fromisoformat(release.issued_at)
    due = release.next_expected_by and datetime.fromisoformat(release.next_expected_by).replace(tzinfo=UTC)
    if issued > effective:
        findings.append(Finding("issued-in-future", "warning", f"issued {release.issued_at}, this host says {now:%F}"))
    if due and effective > due:
        text = f"a newer release was expected by {release.next_expected_by}"
        findings.append(Finding("late", "warning", text))
    return findings or [_ok("time", f"issued {release.issued_at}")]


def verify_path(
    path: Path,
    pin: Pin,
    site: SiteFacts | None,
    *,
    now: datetime,
    head_file: Path | None = None,
    held: frozenset[str] = frozenset(),
    stored: Stored | None = None,
    take: Take | None = None,
    advance: Advance,
    known: Known | None = None,
) -> VerifiedBundle:
    """Verify the bundle file at ``path``, with its head or the one in ``head_file``.

    Args:
        held: Digests of the blobs that this site has, for a delta.
        known: Root documents and the revocation list that this site holds.
        stored: Reads and hashes one of these, when signatures of images must be judged.
        take: Copies the bulk somewhere and checks every byte of it meanwhile, in place of the read that only checks.

    Raises:
        WaybillError: The head cannot be read or is not trusted, or the bulk is damaged. What policy or state says is
            a finding instead (see ``refusal``), and then no byte of the bulk was read.
    """
    if path.is_dir():
        open_head(path)
    descriptor = open_bundle(path)
    try:
        with open(descriptor, "rb", buffering=0, closefd=False) as file:
            head = open_head(head_file) if head_file else read_head(lambda count: file.read(count) or b"", str(path))
        verified = verify_head(head, pin, known)
        findings = judge_release(verified, site, now=now)
        if refusal(findings) is not None:  # F-117
            return _unread(verified, findings)
        bulk = find_places(descriptor, verified.release, str(path))
        if take is not None:
            take(descriptor, bulk)
        else:
            verify_file(descriptor, bulk, str(path), advance=advance)
        places = {place.blob.digest: place for place in bulk.present}

        # What is not on the medium, or was taken from it, is read where it is now.
        here = verified.release.members if take is not None else bulk.missing
        members = {blob.digest: blob for blob in here}

        def read(digest: str) -> bytes:
            if digest in members and stored is not None:
                return stored(members[digest])
            return read_blob(descriptor, places[digest], MAX_MANIFEST_BYTES)

        return conclude(verified, bulk, findings, read if not bulk.missing or stored else None, held)
    finally:
        os.close(descriptor)


def verify_pipe(
    stream: BinaryIO,
    pin: Pin,
    site: SiteFacts | None,
    *,
    now: datetime,
    advance: Advance,
    head: Head | None = None,
    held: frozenset[str] = frozenset(),
    known: Known | None = None,
) -> VerifiedBundle:
    """Verify a bundle as it comes through a pipe; the same verdict as for a file (F-113)."""
    if head is None:
        head = read_head(lambda count: stream.read(count) or b"", "standard input")
    else:
        _skip(stream, head.bulk_at)
    verified = verify_head(head, pin, known)
    findings = judge_release(verified, site, now=now)
    if refusal(findings) is not None:
        return _unread(verified, findings)
    also: Callable[[bytes], bool] | None = None
    if verified.release.asks_signers:
        from content.signatures import looks_signed

        also = looks_signed
    bulk, kept = verify_stream(stream, verified.release, "standard input", also=also, advance=advance)

    def read(digest: str) -> bytes:
        return _kept(kept, digest)

    return conclude(verified, bulk, findings, read if not bulk.missing else None, held)


def _skip(stream: BinaryIO, count: int) -> None:
    """Pass over a head that another one replaces, as for a file: it is not looked at."""
    while count:
        part = stream.read(min(count, 1 << 20))
        if not part:
            raise DamagedError("shorter than its own head", where="standard input", finding="bulk-damaged")
        count -= len(part)


def _kept(kept: Kept, digest: str) -> bytes:
    if digest not in kept.blobs:
        raise MalformedError(f"{digest} should be JSON of at most {MAX_MANIFEST_BYTES} bytes", where="bundle")
    return kept.blobs[digest]


def _unread(verified: VerifiedHead, findings: tuple[Finding, ...]) -> VerifiedBundle:
    return VerifiedBundle(
        head=verified,
        bulk=Bulk(release=verified.release, present=(), missing=verified.release.members, length=0),
        graph=None,
        contract=None,
        rollback=None,
        end="incomplete",
        missing=verified.release.members,
        findings=findings,
    )


def conclude(
    verified: VerifiedHead,
    bulk: Bulk,
    findings: tuple[Finding, ...],
    read: Callable[[str], bytes] | None,
    held: frozenset[str],
) -> VerifiedBundle:
    """Steps after the bytes: completeness, the graph of images, their signatures, contract and rollback document.

    Args:
        read: Hashed bytes of a member; None when some of them are not at hand.

    Raises:
        MalformedError: A trusted release whose parts contradict each other.
        DamagedError: index.json or VERIFY.txt is not the one of the format.
    """
    release = verified.release
    if release.members[1].digest != digest_of(VERIFY_TXT):  # F-116
        raise MalformedError("VERIFY.txt is not the constant of this format", where="VERIFY.txt")
    # F-114, F-115
    missing = bulk.missing if bulk.cut else tuple(blob for blob in bulk.missing if blob.digest not in held)
    size = show_size(sum(blob.size for blob in release.members))
    if missing:
        findings = (*findings, _incomplete(release, bulk, missing))
        return VerifiedBundle(verified, bulk, None, None, None, "incomplete", missing, findings)
    if bulk.missing:
        text = f"{len(bulk.present)} of {len(release.members)} members here, the rest in the store of this site"
        findings = (*findings, _ok("members", text))
        if release.asks_signers:
            findings += _unjudged() if read is None else _judge_images(verified, walk(release, read), read)
        return VerifiedBundle(verified, bulk, None, None, None, "complete with what this site holds", (), findings)
    assert read is not None
    graph = walk(release, read)
    contract = parse_contract(read(release.contract.digest))
    rollback = parse_rollback(read(release.rollback.digest))
    findings = (*findings, _ok("members", f"{len(release.members)} members, {size}, every byte checked"))
    if release.asks_signers:
        findings += _judge_images(verified, graph, read)
    return VerifiedBundle(verified, bulk, graph, contract, rollback, "complete", (), findings)


def _judge_images(verified: VerifiedHead, graph: Graph, read: Callable[[str], bytes]) -> tuple[Finding, ...]:
    from content.image_signers import judge_of
    from content.signatures import judge_images

    release = verified.release
    judged = judge_images(release, graph, read, judge_of(release, verified.chain.newest, read))
    return tuple(Finding(one.id, one.level, one.text, one.error) for one in judged)


def _unjudged() -> tuple[Finding, ...]:
    error = RefusedError(
        "signatures of images are asked for, and their documents are in a store that was not opened",
        where="images",
        remedy="waybill receive, at the site that holds the rest",
    )
    return (_no("image-signers", error),)  # F-167


def _incomplete(release: Release, bulk: Bulk, missing: tuple[Blob, ...]) -> Finding:
    total = show_size(sum(blob.size for blob in missing))
    names = ", ".join(blob.digest[:19] for blob in missing[:4]) + (", …" if len(missing) > 4 else "")
    lost = lost_tail(bulk)
    pieces = damage(lost, "", {}).pieces if lost else ()
    error = DamagedError(
        f"{len(missing)} of {len(release.members)} members are missing, {total}: {names}",
        where=f"bundle of {bulk.length} bytes",
        remedy=f"cut short; {recut(pieces)}"
        if pieces
        else "cut short, or a delta for a site that holds the rest; ask for those pieces again",
        pieces=pieces,
    )
    return _no("incomplete", error)


def open_stream(path: str) -> "closing[BinaryIO]":
    """Standard input, unbuffered enough for the reader thread."""
    return closing(os.fdopen(os.dup(0), "rb", buffering=0)) if path == "-" else closing(Path(path).open("rb"))
