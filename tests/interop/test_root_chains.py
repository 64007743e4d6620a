"""Thousands of generated root chains before two judges: ours, and python-tuf, whose root role ours follows.

Ours has rules of its own, each of which only refuses: a document names the file before it, every signature in it is
right and by a key that it or its predecessor records, and what lies before the pin is held to these as well. So the law
is exact: ours accepts a chain if and only if python-tuf does and these rules hold.
"""

import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

import pytest
from securesystemslib.signer import CryptoSigner, Key, SSlibKey
from tuf.api import metadata as tuf
from tuf.api.exceptions import RepositoryError
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import EnvelopeType

from manifests.trust.envelope import Envelope, KeySignature, pae
from manifests.trust.envelope_writer import encode_root
from manifests.trust.keys import encode_base64
from manifests.trust.private_keys import FileSigner
from manifests.trust.root import ROOT_TYPE, Pin, Role, Root, verify_chain
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from manifests.words.errors import WaybillError
from tests.vendor import CONSIGNMENT, RELEASE, ROLLBACK, derived, roles

CHAINS = 2000
POOL = range(20)
STRANGER = 20
FAR = datetime(2999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Link:
    """One root document, in the words that both formats have.

    Attributes:
        keys: Who holds the root role, by number.
        signers: Whose signatures lie on it; those in ``broken`` are over something else.
        names: Which earlier document of the chain it calls its predecessor, by place; None for one nobody has.
        variant: Tells documents apart that are otherwise the same.
        twice: One of the signatures is listed twice.
    """

    version: int
    keys: tuple[int, ...]
    threshold: int
    signers: tuple[int, ...]
    names: "Link | None" = None
    broken: tuple[int, ...] = ()
    variant: int = 0
    twice: bool = False


# --- generation -------------------------------------------------------------------------------------------------------


def some(rng: random.Random, of: tuple[int, ...], count: int) -> tuple[int, ...]:
    return tuple(sorted(rng.sample(of, min(count, len(of)))))


def enough(rng: random.Random, keys: tuple[int, ...], threshold: int) -> tuple[int, ...]:
    """A quorum, now and then with more than it needs."""
    return some(rng, keys, threshold + (rng.random() < 0.2))


def both(rng: random.Random, before: Link, keys: tuple[int, ...], threshold: int) -> tuple[int, ...]:
    return tuple(sorted({*enough(rng, before.keys, before.threshold), *enough(rng, keys, threshold)}))


def first(rng: random.Random) -> Link:
    keys = some(rng, tuple(POOL), rng.randint(1, 4))
    threshold = rng.randint(1, len(keys))
    return Link(1, keys, threshold, enough(rng, keys, threshold))


def others(rng: random.Random, keys: tuple[int, ...], count: int) -> tuple[int, ...]:
    """Keys that are not among ``keys``."""
    return some(rng, tuple(key for key in POOL if key not in keys), count)


def follow(rng: random.Random, before: Link, keys: tuple[int, ...], threshold: int) -> Link:
    """A right successor."""
    threshold = max(1, min(threshold, len(keys)))
    return Link(before.version + 1, keys, threshold, both(rng, before, keys, threshold), before)


def signed(link: Link, signers: tuple[int, ...]) -> Link:
    return Link(**{**vars(link), "signers": tuple(sorted(set(signers)))})


def changed(link: Link, **changes: object) -> Link:
    return Link(**{**vars(link), **changes})


def same(rng: random.Random, before: Link) -> Link:
    return follow(rng, before, before.keys, before.threshold)


def rotated(rng: random.Random, before: Link) -> Link:
    """Some keys or all of them are new."""
    stay = some(rng, before.keys, rng.randint(0, len(before.keys) - 1))
    keys = tuple(sorted({*stay, *others(rng, before.keys, rng.randint(1, 3))}))
    return follow(rng, before, keys, rng.randint(1, len(keys)))


def raised(rng: random.Random, before: Link) -> Link:
    keys = tuple(sorted({*before.keys, *others(rng, before.keys, 2)}))
    return follow(rng, before, keys, before.threshold + 1)


def lowered(rng: random.Random, before: Link) -> Link:
    return follow(rng, before, before.keys, before.threshold - 1)


def new_keys(rng: random.Random, before: Link) -> Link:
    """A right successor, none of whose keys the old one knew."""
    keys = others(rng, before.keys, rng.randint(1, 3))
    return follow(rng, before, keys, rng.randint(1, len(keys)))


def old_signed_only(rng: random.Random, before: Link) -> Link:
    return signed(new_keys(rng, before), enough(rng, before.keys, before.threshold))


def new_signed_only(rng: random.Random, before: Link) -> Link:
    made = new_keys(rng, before)
    return signed(made, made.keys)


def lowered_without_old_quorum(rng: random.Random, before: Link) -> Link:
    """One key fewer than the old document demands, and as many as the new one is content with."""
    made = follow(rng, before, before.keys, 1)
    return signed(made, some(rng, before.keys, max(0, before.threshold - 1)))


def too_few(rng: random.Random, before: Link) -> Link:
    made = raised(rng, before)
    return signed(made, some(rng, before.keys, made.threshold - 1))


def by_nobody(rng: random.Random, before: Link) -> Link:
    return signed(same(rng, before), ())


def gap(rng: random.Random, before: Link) -> Link:
    return changed(same(rng, before), version=before.version + rng.randint(2, 3))


def rollback(rng: random.Random, before: Link) -> Link:
    return changed(same(rng, before), version=max(1, before.version - rng.randint(0, 2)), variant=7)


def fork(rng: random.Random, before: Link) -> Link:
    """It follows another document of the same version, which has keys of its own."""
    sibling = changed(before, keys=others(rng, before.keys, 3), variant=1)
    sibling = changed(sibling, threshold=min(before.threshold, len(sibling.keys)))
    return same(rng, sibling)


def fork_by_the_same_keys(rng: random.Random, before: Link) -> Link:
    """The same, and its signers are good for either: only the digest of the predecessor tells."""
    return same(rng, changed(before, variant=1))


def predecessor_unnamed(rng: random.Random, before: Link) -> Link:
    return changed(same(rng, before), names=None)


def stranger_beside(rng: random.Random, before: Link) -> Link:
    made = same(rng, before)
    return signed(made, (*made.signers, STRANGER))


def stranger_counted(rng: random.Random, before: Link) -> Link:
    return signed(same(rng, before), (*some(rng, before.keys, before.threshold - 1), STRANGER))


def broken_beside(rng: random.Random, before: Link) -> Link:
    """A signature too many, and it is wrong."""
    made = follow(rng, before, tuple(sorted({*before.keys, *others(rng, before.keys, 4)})), 1)
    extra = tuple(key for key in made.keys if key not in made.signers)
    return changed(signed(made, (*made.signers, *extra)), broken=extra)


def broken_needed(rng: random.Random, before: Link) -> Link:
    made = signed(same(rng, before), some(rng, before.keys, before.threshold))
    return changed(made, broken=made.signers[:1])


def one_key_twice(rng: random.Random, before: Link) -> Link:
    keys = tuple(sorted({*before.keys, *others(rng, before.keys, 1)}))
    made = follow(rng, before, keys, 2)
    return changed(signed(made, before.keys[:1]), twice=True)


Step = Callable[[random.Random, Link], Link]
RIGHT: tuple[Step, ...] = (same, rotated, rotated, raised, lowered, new_keys)
WRONG: tuple[Step, ...] = (
    old_signed_only,
    new_signed_only,
    lowered_without_old_quorum,
    too_few,
    by_nobody,
    gap,
    rollback,
    fork,
    fork_by_the_same_keys,
    predecessor_unnamed,
    stranger_beside,
    stranger_counted,
    broken_beside,
    broken_needed,
    one_key_twice,
)


def generate(rng: random.Random) -> tuple[tuple[Link, ...], int, set[str]]:
    """A chain, the place that is pinned, and what was done to it."""
    links = [first(rng)]
    done: set[str] = set()
    for _ in range(rng.randint(1, 4)):
        step = rng.choice(WRONG if rng.random() < 0.25 else RIGHT)
        links.append(step(rng, links[-1]))
        done.add(step.__name__)
    return tuple(links), rng.choice((0, 0, rng.randrange(len(links)))), done


# --- ours -------------------------------------------------------------------------------------------------------------


@cache
def key(number: int) -> FileSigner:
    return derived(500 + number)


@cache
def our_payload(link: Link) -> bytes:
    held = tuple(sorted(key(n).public.keyid for n in link.keys))
    signers = (RELEASE, CONSIGNMENT, ROLLBACK, *(key(n) for n in link.keys))
    return encode_root(
        Root(
            vendor="small-works",
            version=link.version,
            epoch=1 + link.variant,
            previous=(digest_of(our_file(link.names)) if link.names else NOBODYS) if link.version > 1 else None,
            keys={one.public.keyid: one.public for one in signers},
            roles={**roles(), "root": Role(keys=held, threshold=link.threshold)},
        )
    )


NOBODYS = "sha256:" + "0" * 64


@cache
def our_file(link: Link) -> bytes:
    payload = our_payload(link)
    found = []
    for n in link.signers:
        message = pae(ROOT_TYPE, payload) if n not in link.broken else b"another message"
        found.append(KeySignature(keyid=key(n).public.keyid, sig=encode_base64(key(n).sign(message))))
    found.sort(key=lambda one: one.keyid)
    found += found[:1] if link.twice else []
    return encode(Envelope(payload=encode_base64(payload), payload_type=ROOT_TYPE, signatures=tuple(found)))


def ours(links: tuple[Link, ...], at: int) -> bool:
    pin = Pin(version=links[at].version, digest=digest_of(our_payload(links[at])))
    try:
        chain = verify_chain(tuple(our_file(one) for one in links), pin)
    except WaybillError:
        return False
    assert chain.newest.version == links[-1].version
    return True


# --- theirs -----------------------------------------------------------------------------------------------------------


@cache
def tuf_signer(number: int) -> CryptoSigner:
    return CryptoSigner(key(number).key)


@cache
def tuf_file(link: Link) -> bytes:
    keys: dict[str, Key] = {}
    for n in link.keys:
        public = tuf_signer(n).public_key
        assert isinstance(public, SSlibKey)
        keys[public.keyid] = public
    role = tuf.Role(list(keys), link.threshold)
    held = dict.fromkeys(("root", "timestamp", "snapshot", "targets"), role)
    root = tuf.Root(
        version=link.version, expires=FAR, keys=keys, roles=held, unrecognized_fields={"variant": link.variant}
    )
    made = tuf.Metadata(root)
    for n in link.signers:
        signature = tuf_signer(n).sign(made.signed_bytes if n not in link.broken else b"another message")
        made.signatures[signature.keyid] = signature
    fields = made.to_dict()
    fields["signatures"] += fields["signatures"][:1] if link.twice else []
    return json.dumps(fields).encode()


def theirs(links: tuple[Link, ...], at: int) -> bool:
    try:
        trusted = TrustedMetadataSet(tuf_file(links[at]), EnvelopeType.METADATA)
        for one in links[at + 1 :]:
            trusted.update_root(tuf_file(one))
    except RepositoryError:
        return False
    assert trusted.root.version == links[-1].version
    return True


def rules_of_ours(links: tuple[Link, ...]) -> bool:
    """What ours demands besides, said from the chain and not by our code."""
    for before, after in zip((None, *links), links, strict=False):
        known = {*after.keys, *(before.keys if before else ())}
        if after.broken or after.twice or not set(after.signers) <= known:
            return False
        if before is not None and (after.version != before.version + 1 or after.names != before):
            return False
        if before is not None and after.variant < before.variant:
            return False
    return True


# --- the law ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_two_agree_on_every_chain() -> None:
    rng = random.Random(20260102)
    seen: Counter[str] = Counter()
    accepted: Counter[str] = Counter()
    verdicts: Counter[tuple[bool, bool]] = Counter()
    for number in range(CHAINS):
        links, at, done = generate(rng)
        we, they = ours(links, at), theirs(links, at)
        assert we == (they and rules_of_ours(links)), (number, at, done, links)
        verdicts[we, they] += 1
        seen.update(done)
        accepted.update(done if we else ())
    assert all(seen[step.__name__] > 40 for step in (*RIGHT, *WRONG)), seen
    assert all(accepted[step.__name__] > 20 for step in RIGHT), accepted
    # Both say yes, both say no, and where we are stricter; never the other way round.
    assert min(verdicts[True, True], verdicts[False, False], verdicts[False, True]) > 100
    assert verdicts[True, False] == 0


@pytest.mark.parametrize("step", [*RIGHT, *WRONG], ids=lambda step: step.__name__)
def test_each_kind_by_itself(step: Step) -> None:
    """After a right beginning of three keys, two of which must sign."""
    strict = {fork_by_the_same_keys, predecessor_unnamed, stranger_beside, broken_beside}
    rng = random.Random(7)
    start = Link(1, (0, 1, 2), 2, (0, 1))
    for _ in range(5):
        links = (start, step(rng, start))
        assert ours(links, 0) == (step in RIGHT)
        assert theirs(links, 0) == (step in RIGHT or step in strict)
