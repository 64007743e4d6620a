"""What a site holds of its vendor's trust, and how newer root documents and revocation lists come into force.

Both carry their own signatures, need nobody's approval, and are durable before anything that came with them is
believed: a revocation never waits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from content.trust.head import Known, check_own_keys
from manifests.trust.keys import read_capped
from manifests.trust.revocations import Revocations, judge_revocations, parse_revocations, revoke
from manifests.trust.root import MAX_ROOT, Chain, Root, join_roots, verify_chain
from manifests.trust.root_change import RootChange, change_of_roots
from manifests.words.errors import UntrustedError, WaybillError
from verifier.site.folder import Site
from verifier.site.journal.events import Alarm, RevocationsInForce, RootInForce

Notify = Callable[[str], None]


@dataclass(frozen=True)
class NewRoot:
    """A root document that came into force."""

    version: int
    fingerprint: str
    change: RootChange


@dataclass(frozen=True)
class NewList:
    """What became of a revocation list that came.

    Attributes:
        new: Whether it is in force from now on.
        ignored: Why it is not, in words.
    """

    version: int
    new: bool
    ignored: str = ""


def silent(_: str) -> None:
    """Nobody is told."""


def trust_folder(site: Site) -> Path:
    """Where the root documents lie; a site whose root was replaced keeps the new line in a folder of its own."""
    folder = site.path / "trust"
    return folder / f"line-{site.state.trust.root_line}" if site.state.trust.root_line else folder


def root_documents(site: Site) -> tuple[bytes, ...]:
    """The root documents up to the one in force, oldest first; a site may have been enrolled with a later one."""
    paths = (
        trust_folder(site) / f"{version}.root.json" for version in range(1, max(site.state.trust.root.version, 1) + 1)
    )
    return tuple(read_capped(path, MAX_ROOT) for path in paths if path.is_file())


def list_in_force(site: Site) -> Revocations | None:
    """The newest list that was received. Its signatures were judged then; the journal fixes its bytes."""
    if site.state.trust.revocations is None:
        return None
    version, digest = site.state.trust.revocations
    return parse_revocations(site.document(digest), f"revocation list {version}")[1]


def own_chain(site: Site) -> Chain:
    """The vendor's chain up to the root in force, verified again from the journal's pin, as the list leaves it.

    Raises:
        UntrustedError: The documents are not those that the journal pins.
    """
    return revoke(verify_chain(root_documents(site), site.state.trust.root), list_in_force(site))


def known_trust(site: Site) -> Known:
    """What this site brings to the judgement of a medium."""
    people = {key.keyid for person in site.policy.people.values() for key in person.keys}
    return Known(
        roots=root_documents(site),
        revocations=list_in_force(site),
        own_keys=frozenset(
            {site.state.site_key.keyid, *(one.key.keyid for one in site.state.reports.former_keys), *people}
        ),
    )


def adopt_roots(site: Site, offered: tuple[bytes, ...], say: Notify = silent) -> tuple[NewRoot, ...]:
    """Follow the chain as far as ``offered`` leads, and put its newest root in force.

    Steps: 1 join with what is here, and verify from the pin; 2 a root must suit this site; 3 say who joins and who
    leaves; 4 store; 5 journal.

    Raises:
        MalformedError, UntrustedError, RefusedError: Nothing was changed; a fork is in the journal as an alarm.
    """
    state = site.state
    try:
        joined = join_roots(root_documents(site), offered)  # 1
        chain = verify_chain(joined, state.trust.root)
    except UntrustedError as error:
        if error.finding == "root-fork":
            _alarm(site, error)
        raise
    new = [one for one in chain.roots if one.root.version > state.trust.root.version]
    if not new:
        return ()
    known = known_trust(site)
    for one in new:  # 2
        check_own_keys(one.root, known.own_keys)
    _check_practice(chain.newest, practice=state.trust.practice)
    before = {one.root.version: one.root for one in chain.roots}
    found = tuple(
        NewRoot(one.root.version, one.fingerprint, change_of_roots(before[one.root.version - 1], one.root))
        for one in new
    )
    for made in found:  # 3
        say(f"root {made.version} of {chain.newest.vendor}, {made.fingerprint}")
        say("  signed by the quorum of the version before and by its own")
        for line in made.change.lines:
            say(f"  {line}")
    folder = trust_folder(site)
    for each in chain.roots:  # 4
        path = folder / f"{each.root.version}.root.json"
        if not path.is_file() or path.read_bytes() != each.raw:
            site.disk.write(path, each.raw)
    site.record(RootInForce(pin=chain.pin))  # 5
    return found


def _check_practice(root: Root, *, practice: bool) -> None:
    if root.practice and not practice:
        raise UntrustedError(
            f"root {root.version} is a practice root, and this site is not enrolled for practice",
            where="trust",
            remedy="tell the vendor; a real chain never leads to a practice root",
            finding="practice",
        )


def adopt_revocations(site: Site, data: bytes, what: str, say: Notify = silent) -> NewList:
    """Put a revocation list in force when it is newer than the one here.

    Raises:
        MalformedError, UntrustedError: Nothing was changed; two lists of one version are in the journal as an alarm.
    """
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
    for line in changes_of_lists(held, came):
        say(line)
    digest = site.keep_document(data)
    site.record(RevocationsInForce(version=came.version, digest=digest))
    return NewList(came.version, new=True)


def changes_of_lists(held: Revocations | None, came: Revocations) -> tuple[str, ...]:
    """What a newer list adds, in words; and what it takes back, which a vendor's own tools never write."""
    lines = [f"revocation list {came.version} of {came.vendor}, signed by its root keys"]
    for name in ("keys", "releases", "handlers"):
        now, was = set(getattr(came, name)), set(getattr(held, name) if held else ())
        lines += [f"  revokes {name.removesuffix('s')} {one}" for one in sorted(now - was)]
        lines += [f"  no longer revokes {name.removesuffix('s')} {one}" for one in sorted(was - now)]
    return tuple(lines)


def _alarm(site: Site, error: WaybillError) -> None:
    """Home must hear of it, once."""
    if all((one.code, one.detail) != (error.finding, error.problem) for one in site.state.alarms):
        site.record(Alarm(code=error.finding, detail=error.problem))
