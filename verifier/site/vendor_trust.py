"""The vendor's root documents and revocation lists at a site, and how newer ones come into force.

Both have their own signatures and need no approval. They are durable before anything else of the same medium is
verified, so that a revocation takes effect at once.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import dropwhile
from pathlib import Path

from content.trust.head import Known, check_own_keys
from manifests.trust.keys import read_capped
from manifests.trust.revocations import Revocations, judge_revocations, parse_revocations, revoke
from manifests.trust.root import MAX_ROOT, Chain, Pin, SignedRoot, join_roots, parse_root, verify_chain
from manifests.trust.root_change import RootChange, change_of_roots
from manifests.words.digest import digest_of
from manifests.words.errors import DamagedError, HostError, MalformedError, UntrustedError, WaybillError
from verifier.site.folder import EVIDENCE, Site
from verifier.site.journal.events import Alarm, RevocationsInForce, RootInForce
from verifier.site.unread import attempt, taken_in_before

Notify = Callable[[str], None]


@dataclass(frozen=True)
class NewRoot:
    """A root document that came into force."""

    version: int
    fingerprint: str
    change: RootChange


@dataclass(frozen=True)
class NewList:
    """The result of receiving a revocation list: ``new`` when it came into force, ``ignored`` says why it did not."""

    version: int
    new: bool
    ignored: str | None = None


def silent(_: str) -> None:
    """Report nothing."""


def trust_folder(site: Site) -> Path:
    """Return the folder of the root documents; every replacement of the root begins a folder of its own."""
    folder = site.path / "trust"
    return folder / f"line-{site.state.trust.root_line}" if site.state.trust.root_line else folder


def root_documents(site: Site) -> tuple[bytes, ...]:
    """Return the root documents up to the one in force, oldest first; the first may be above version 1.

    Raises:
        DamagedError: One is missing or not a root document any more, or the newest is not the one that the journal
            pins.
    """
    folder, newest = trust_folder(site), max(site.state.trust.root.version, 1)
    paths = [folder / f"{version}.root.json" for version in range(1, newest + 1)]
    # A site that was enrolled late has no older ones. Without the vendor's access there are none at all.
    kept = list(dropwhile(lambda path: not path.exists(), paths))
    if not kept and not site.state.offboarded:
        kept = paths[-1:]
    return tuple(_own_document(site, path) for path in kept)


def _own_document(site: Site, path: Path) -> bytes:
    pin, problem = site.state.trust.root, "the root document of this site is missing"
    try:
        if path.is_file():
            problem = "it is damaged, and no longer a root document"
            raw = read_capped(path, MAX_ROOT)
            signed = parse_root(raw, str(path))
            if signed.root.version != pin.version or signed.fingerprint == pin.digest:
                return raw
            problem = f"it is not the root {pin.version} that the journal names"
    except HostError as error:
        if not os.access(path, os.R_OK):
            raise  # rights are no damage
        problem = error.problem
    except MalformedError:
        pass  # the detail, such as a pattern of the format, helps nobody: the file is ours and was whole once
    raise DamagedError(
        problem,
        where=str(path),
        remedy=f"receive any bundle of the vendor again, which brings it: waybill receive BUNDLE; or copy {path.name} "
        "from a backup of the site",
        finding="root-changed",
    )


def list_in_force(site: Site) -> Revocations | None:
    """Return the revocation list in force. Its signatures were verified on arrival; the journal has its digest."""
    if site.state.trust.revocations is None:
        return None
    version, digest = site.state.trust.revocations
    try:
        raw = site.document(digest)
    except DamagedError as error:
        remedy = f"receive a medium that carries revocation list {version} again: waybill receive MEDIUM"
        raise error.with_(problem=f"revocation list {version}: {error.problem}", remedy=remedy) from None
    with taken_in_before():
        return parse_revocations(raw, f"revocation list {version}")[1]


def own_chain(site: Site) -> Chain:
    """Return the vendor's chain up to the root in force, verified from the journal's pin, without revoked keys.

    Raises:
        DamagedError: The documents are not the ones that the journal pins.
        UntrustedError: The vendor's access has ended.
    """
    try:
        chain = verify_chain(root_documents(site), site.state.trust.root)
    except (MalformedError, UntrustedError) as error:
        if site.state.offboarded:
            raise  # there is no trust any more, which is what the last probes of the vendor's access look for
        raise DamagedError(
            f"the site's own root documents were changed: {error.problem}",
            where=str(trust_folder(site)),
            remedy="copy the files N.root.json from a backup of the site, or the vendor's, over them",
            finding="root-changed",
        ) from None
    return revoke(chain, list_in_force(site))


def known_trust(site: Site) -> Known:
    """Return what this site knows when it verifies a medium: roots, revocation list, its own keys."""
    own = {key.keyid for person in site.policy.people.values() for key in person.keys}
    return Known(roots=root_documents(site), revocations=list_in_force(site), own_keys=site.state.own_keys | own)


def last_trust(site: Site) -> tuple[Pin, Known]:
    """Return the root and what is known beside it, as now or, after the end of the vendor's access, as before it.

    It only tells whether a kept release is revoked.
    """
    offboarding = site.state.offboarding
    if offboarding is None or offboarding.root is None:
        return site.state.trust.root, known_trust(site)
    folder = site.path / EVIDENCE / trust_folder(site).relative_to(site.path / "trust")
    paths = (folder / f"{version}.root.json" for version in range(1, offboarding.root.version + 1))
    roots = tuple(read_capped(path, MAX_ROOT) for path in paths if path.exists())
    return offboarding.root, Known(roots=roots, revocations=list_in_force(site))


def adopt_roots(site: Site, offered: tuple[bytes, ...], say: Notify = silent) -> tuple[NewRoot, ...]:
    """Follow the chain as far as ``offered`` leads, and put its newest root in force.

    1. Join the documents and verify them from the pin, and write damaged ones of this site again; 2. check that each
    root suits this site; 3. report which keys join and leave; 4. store; 5. record in the journal.

    Raises:
        MalformedError, UntrustedError, RefusedError: Nothing was changed. A fork is recorded as an alarm.
        DamagedError: A document of this site is damaged, and ``offered`` does not bring the pinned one.
    """
    state = site.state
    damage: list[WaybillError] = []
    own = attempt(lambda: root_documents(site), damage)
    try:
        chain = verify_chain(join_roots(own or (), offered), state.trust.root)  # 1
    except UntrustedError as error:
        if damage:
            raise damage[0] from error
        if error.finding == "root-fork":
            _alarm(site, error)
        raise
    if damage:
        _keep_roots(site, (signed for signed in chain.roots if signed.root.version <= state.trust.root.version))
        say(f"{damage[0].where}: written again from this medium, because {damage[0].problem}")
    new = [signed for signed in chain.roots if signed.root.version > state.trust.root.version]
    if not new:
        return ()
    known = known_trust(site)
    for signed in new:  # 2
        check_own_keys(signed.root, known.own_keys)
    if chain.newest.practice and not state.trust.practice:
        raise UntrustedError(
            f"root {chain.newest.version} is a practice root, and this site is not enrolled for practice",
            where="trust",
            remedy="report this to the vendor; do not install anything until it is explained",
            finding="practice",
        )
    roots = {signed.root.version: signed.root for signed in chain.roots}
    adopted = []
    for signed in new:  # 3
        change = change_of_roots(roots[signed.root.version - 1], signed.root)
        adopted.append(NewRoot(signed.root.version, signed.fingerprint, change))
        say(f"root {signed.root.version} of {chain.newest.vendor}, {signed.fingerprint}")
        say("  signed by the quorum of the version before and by its own quorum")
        for line in change.lines:
            say(f"  {line}")
    _keep_roots(site, chain.roots)  # 4
    site.record(RootInForce(pin=chain.pin))  # 5
    return tuple(adopted)


def _keep_roots(site: Site, roots: Iterable[SignedRoot]) -> None:
    site.disk.make_folder(trust_folder(site))
    for signed in roots:
        path = trust_folder(site) / f"{signed.root.version}.root.json"
        if attempt(path.read_bytes, []) != signed.raw:
            site.disk.write(path, signed.raw)


def adopt_revocations(site: Site, data: bytes, what: str, say: Notify = silent) -> NewList:
    """Put a revocation list in force when it is newer than the one in force.

    Raises:
        MalformedError, UntrustedError: Nothing was changed. Two lists of one version are recorded as an alarm.
    """
    if site.state.trust.revocations == (parse_revocations(data, what)[1].version, digest_of(data)):
        site.keep_document(data)  # the copy here may be damaged
    held = list_in_force(site)
    try:
        judged = judge_revocations(data, own_chain(site), held, what)
    except UntrustedError as error:
        if error.finding == "revocations-twice":
            _alarm(site, error)
        raise
    if judged.came is None:
        return NewList(parse_revocations(data, what)[1].version, new=False, ignored=judged.ignored)
    came = judged.came
    say(f"revocation list {came.version} of {came.vendor}, signed by its root keys")
    for name in ("keys", "releases", "handlers"):
        after, before = set(getattr(came, name)), set(getattr(held, name, ()))
        for change, digests in (("revokes", after - before), ("no longer revokes", before - after)):
            for digest in sorted(digests):
                known = _known_here(site, name, digest)
                say(f"  {change} {name.removesuffix('s')} {digest}" + (f": {known}" if known else ""))
    site.record(RevocationsInForce(version=came.version, digest=site.keep_document(data)))
    return NewList(came.version, new=True)


def _known_here(site: Site, name: str, digest: str) -> str:
    """Return what a revoked release is at this site, by the name that commands take; empty for other things."""
    installs = site.state.installs
    if name != "releases":
        return ""
    kept = [
        ("runs" if generation.number == installs.current else "is kept") + f" here as generation {generation.number}"
        for generation in installs.generations
        if generation.release == digest and site.generation_folder(generation.number).is_dir()
    ]
    received = next((received for received in reversed(installs.releases) if received.release == digest), None)
    if received is None:
        return "never received here"
    return f"{received.item}, which {' and '.join(kept) or 'was received here'}"


def _alarm(site: Site, error: WaybillError) -> None:
    """Record an alarm for the next report, once."""
    if all((one.code, one.detail) != (error.finding, error.problem) for one in site.state.alarms):
        site.record(Alarm(code=error.finding, detail=error.problem))
