"""The chain of roots against a small model, and who is counted. Wrong chains are vectors: root-*."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from manifests.trust.envelope_writer import encode_root, seal
from manifests.trust.private_keys import FileSigner
from manifests.trust.root import ROOT_TYPE, Chain, Leaver, Mark, Pin, Role, parse_root, read_root, verify_chain
from manifests.words.digest import digest_of
from manifests.words.errors import MalformedError, UntrustedError
from tests.vendor import RELEASE, ROOT, SECOND, Vendor, derived

HOLDERS = tuple(derived(number) for number in range(301, 305))


def chain_of(holders: list[set[int]], thresholds: list[int], signers: list[set[int]]) -> tuple[bytes, ...]:
    """Roots whose role root is held by ``holders`` and which ``signers`` signed."""
    made: list[bytes] = []
    every = {one.public.keyid: one.public for one in HOLDERS}
    for version, (held, threshold, signed) in enumerate(zip(holders, thresholds, signers, strict=True), 1):
        keys = tuple(sorted(HOLDERS[i].public.keyid for i in held))
        root = replace(
            Vendor().root(),
            version=version,
            previous=digest_of(made[-1]) if made else None,
            keys={**Vendor().root().keys, **every},
            roles={**Vendor().root().roles, "root": Role(keys=keys, threshold=threshold)},
        )
        made.append(seal(encode_root(root), ROOT_TYPE, tuple(HOLDERS[i] for i in sorted(signed))))
    return tuple(made)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"# who may sign\nwaybill: 1\nvendor: small-works\n", "this is YAML that a person writes; expected"),
        (RELEASE.public.pem.encode(), "this is a key; expected"),
        (Vendor().head().signatures[0].bundle, "this is a signature; expected"),
        (b"{}", "missing required field"),
        (b"", "not valid JSON"),
    ],
)
def test_a_file_that_is_often_named_for_a_root_document(data: bytes, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "given"
    path.write_bytes(data)
    with pytest.raises(MalformedError, match=problem) as caught:
        read_root(path)
    assert caught.value.where.startswith(str(path))
    assert "such as trust/1.root.json" in caught.value.remedy


@settings(max_examples=60)
@given(st.data())
def test_a_chain_is_believed_exactly_when_every_quorum_from_the_pin_on_signed(data: Any) -> None:
    """F-6.15, as TUF's client workflow has it: thresholds of N and of N + 1."""
    length = data.draw(st.integers(1, 3))
    sets = st.sets(st.integers(0, 3), min_size=1)
    holders = [data.draw(sets) for _ in range(length)]
    thresholds = [data.draw(st.integers(1, len(one))) for one in holders]
    signers = [data.draw(st.sets(st.integers(0, 3))) for _ in range(length)]
    pinned = data.draw(st.integers(0, length - 1))
    files = chain_of(holders, thresholds, signers)
    expected = all(
        len(signers[n] & holders[n]) >= thresholds[n]
        and (n == pinned or len(signers[n] & holders[n - 1]) >= thresholds[n - 1])
        for n in range(pinned, length)
    )
    pin = parse_root(files[pinned], "x").fingerprint
    try:
        found = verify_chain(files, Pin(version=pinned + 1, digest=pin))
    except UntrustedError as error:
        assert error.finding == "root-signatures-missing"
        assert not expected
    else:
        assert expected
        assert found.newest.version == length
        assert found.pin == Pin(version=length, digest=parse_root(files[-1], "x").fingerprint)


def chain_with(leave: dict[str, Leaver], newest: tuple[FileSigner, ...]) -> Chain:
    first = Vendor().root_file()
    role = Role(keys=tuple(sorted(one.public.keyid for one in newest)), threshold=1, products=("small",))
    second = replace(
        Vendor().root(),
        version=2,
        previous=digest_of(first),
        roles={**Vendor().root().roles, "release": role},
        leave=leave,
    )
    return verify_chain((first, seal(encode_root(second), ROOT_TYPE, (ROOT,))), Vendor().pin())


def test_the_newest_root_judges() -> None:
    """F-6.17: a key that is no longer in the role counts for nothing, whatever older roots say."""
    chain = chain_with({}, (SECOND,))
    assert chain.counts("release", RELEASE.public.keyid, Mark(epoch=1, sequence=1)) != "counted"
    assert chain.counts("release", SECOND.public.keyid, Mark(epoch=1, sequence=1)) == "counted"
    assert chain.key(RELEASE.public.keyid) == RELEASE.public
    assert chain.key("0" * 64) is None


@pytest.mark.parametrize(
    ("leaver", "at", "counted"),
    [
        (Leaver(how="revoked"), Mark(epoch=1, sequence=1), False),
        (Leaver(how="retired", last=Mark(epoch=1, sequence=5)), Mark(epoch=1, sequence=5), True),
        (Leaver(how="retired", last=Mark(epoch=1, sequence=5)), Mark(epoch=1, sequence=6), False),
        (Leaver(how="retired", last=Mark(epoch=1, sequence=5)), Mark(epoch=2, sequence=1), False),
        (Leaver(how="retired", last=Mark(epoch=2, sequence=1)), Mark(epoch=1, sequence=9), True),
        (Leaver(how="retired", last=Mark(epoch=1, sequence=5)), None, False),
    ],
)
def test_leavers(leaver: Leaver, at: Mark | None, counted: bool) -> None:
    """F-6.18: what is no release has no place in a stream, so a retired key does not count for it."""
    chain = chain_with({RELEASE.public.keyid: leaver}, (SECOND,))
    assert (chain.counts("release", RELEASE.public.keyid, at) == "counted") is counted
    assert chain.counts("consignment", RELEASE.public.keyid, Mark(epoch=1, sequence=1)) != "counted"


def test_a_late_signature_does_not_change_the_fingerprint() -> None:
    root = encode_root(Vendor().root())
    one, two = (parse_root(seal(root, ROOT_TYPE, signers), "x") for signers in ((ROOT,), (ROOT, RELEASE)))
    assert one.raw != two.raw
    assert one.fingerprint == two.fingerprint == digest_of(root)
