"""Verify: the order of checks, a head from beside the medium, what is read and what is not."""

import io
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from content.bundle.head import Head, open_head
from content.bundle.head_writer import add_signature, encode_head, sign_release
from manifests.trust.root import Mark, Pin
from manifests.words.errors import (
    DamagedError,
    HostError,
    MalformedError,
    NewerError,
    RefusedError,
    UntrustedError,
    WaybillError,
)
from manifests.words.time import parse_time
from tests.vectors.of_sites import SITE, VENDOR
from tests.vectors.surgery import request
from tests.vendor import RELEASE, SECOND, Vendor
from verifier.trust.bundle import VerifiedBundle, verify_path, verify_pipe
from verifier.trust.findings import Finding, refusal
from verifier.trust.release_rules import SiteFacts, judge_release, judge_upgrade_path


def verified(path: Path, site: SiteFacts | None = SITE, pin: Pin | None = None, **more: Any) -> VerifiedBundle:
    return verify_path(path, request(pin or VENDOR.pin(), site, **more))


def ids(bundle: VerifiedBundle) -> dict[str, str]:
    return {one.id: one.level for one in bundle.findings}


def test_a_good_bundle_has_one_line_for_each_thing(tmp_path: Path) -> None:
    found = verified(VENDOR.write(tmp_path / "b.tar"))
    assert ids(found) == dict.fromkeys(("root", "signatures", "audience", "sequence", "time", "members"), "ok")
    assert found.end == "complete" and found.missing == ()
    assert found.contract == VENDOR.contract() and found.rollback == VENDOR.rollback()
    assert found.graph is not None and len(found.graph.nodes) == 2
    assert refusal(found.findings) is None


def counted_reads(path: Path, pin: Pin, site: SiteFacts | None, monkeypatch: pytest.MonkeyPatch) -> tuple[str, int]:
    """The finding, and the highest offset that was read."""
    furthest = 0
    real = os.pread, os.preadv

    def note(at: int, count: int) -> None:
        nonlocal furthest
        furthest = max(furthest, at + count)

    def pread(descriptor: int, count: int, at: int) -> bytes:
        note(at, count)
        return real[0](descriptor, count, at)

    def preadv(descriptor: int, buffers: list[memoryview], at: int) -> int:
        note(at, sum(map(len, buffers)))
        return real[1](descriptor, buffers, at)

    monkeypatch.setattr(os, "pread", pread)
    monkeypatch.setattr(os, "preadv", preadv)
    try:
        found = verified(path, site, pin)
    except WaybillError as error:
        return error.finding, furthest
    refused = refusal(found.findings)
    assert refused is not None
    return refused.finding, furthest


@pytest.mark.parametrize(
    ("pin", "site", "finding"),
    [
        (Pin(version=1, digest="sha256:" + "0" * 64), None, "root-unknown"),
        (VENDOR.pin(), replace(SITE, channel="beta"), "channel"),
        (VENDOR.pin(), replace(SITE, customer="other"), "audience"),
        (VENDOR.pin(), replace(SITE, floor=Mark(epoch=9, sequence=9)), "below-floor"),
    ],
)
def test_of_what_is_refused_no_byte_of_the_bulk_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pin: Pin, site: SiteFacts | None, finding: str
) -> None:
    """F-9.1. The bulk is garbage, and nobody notices."""
    path = tmp_path / "b.tar"
    path.write_bytes(VENDOR.bundle()[:65536] + os.urandom(70_000))
    found, furthest = counted_reads(path, pin, site, monkeypatch)
    assert found == finding
    assert furthest == 0
    stream = io.BytesIO(path.read_bytes())
    with suppress(UntrustedError):
        verify_pipe(stream, request(pin, site))
    assert stream.tell() == 65536


def test_what_was_not_read_is_said_to_be_missing(tmp_path: Path) -> None:
    found = verified(VENDOR.write(tmp_path / "b.tar"), replace(SITE, channel="beta"))
    assert found.end == "incomplete" and len(found.missing) == len(found.head.release.members)


def test_a_newer_head_from_beside_a_read_only_medium(tmp_path: Path) -> None:
    # F-3.15
    """The rules are the same, from a file and from a pipe; the medium's own head is not looked at."""
    two = Vendor(signers=(RELEASE, SECOND), threshold=2)
    one = two.but(signers=(RELEASE,))
    path = one.write(tmp_path / "b.tar")
    with pytest.raises(UntrustedError):
        verified(path, None, two.pin())
    head: Head = add_signature(one.head(), sign_release(one.head().release, SECOND))
    beside = tmp_path / "b.tar.head"
    beside.write_bytes(encode_head(head))
    assert verified(path, None, two.pin(), head=open_head(beside)).end == "complete"
    spoiled = b"\xff" * 65536 + path.read_bytes()[65536:]
    (tmp_path / "spoiled.tar").write_bytes(spoiled)
    assert verified(tmp_path / "spoiled.tar", None, two.pin(), head=open_head(beside)).end == "complete"
    for data in (path.read_bytes(), spoiled):
        piped = verify_pipe(io.BytesIO(data), request(two.pin(), head=head))
        assert piped.end == "complete"
    with pytest.raises(DamagedError, match="shorter than its own head"):
        verify_pipe(io.BytesIO(spoiled[:1000]), request(two.pin(), head=head))


def test_a_head_of_another_bundle_does_not_fit(tmp_path: Path) -> None:
    """Not even when all sizes are equal: the digests are not."""
    path = VENDOR.write(tmp_path / "b.tar")
    other = VENDOR.but(service={"hello.txt": b"HELLO\n", "run.py": b"print('hi')\n"})
    beside = tmp_path / "other.head"
    beside.write_bytes(encode_head(other.head()))
    with pytest.raises(DamagedError):
        verified(path, None, head=open_head(beside), pin=other.pin())


def test_a_folder_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MalformedError, match="a folder"):
        verified(tmp_path)
    with pytest.raises(OSError):
        verified(tmp_path / "none.tar")


@pytest.mark.parametrize(
    ("codes", "wins"),
    [
        ((UntrustedError, NewerError, RefusedError, DamagedError), UntrustedError),
        ((DamagedError, RefusedError, NewerError), NewerError),
        ((DamagedError, RefusedError), RefusedError),
        ((DamagedError,), DamagedError),
        ((HostError, DamagedError), DamagedError),
    ],
)
def test_the_first_of_4_8_5_7_decides(codes: tuple[type[WaybillError], ...], wins: type[WaybillError]) -> None:
    """F-15.1."""
    findings = tuple(Finding("x", "refused", "x", one("x")) for one in codes)
    assert type(refusal(findings)) is wins


def test_a_mark_of_another_stream_says_nothing(tmp_path: Path) -> None:
    """F-14.4 to F-14.6: a mark, the floor and the highest mark belong to one product and channel."""
    path = VENDOR.write(tmp_path / "b.tar")
    facts = replace(
        SITE,
        known={Mark(epoch=1, sequence=7): "sha256:" + "0" * 64},
        highest=Mark(epoch=9, sequence=9),
        floor=Mark(epoch=9, sequence=9),
    )
    for other in (replace(facts, channel="beta"), replace(facts, product="large")):
        found = ids(verified(path, other))
        assert not found.keys() & {"sequence-twice", "below-floor", "sequence-jump", "newer-known", "sequence"}
    proposed = replace(facts, channel="beta", others={"stable": facts})
    assert ids(verified(path, proposed))["sequence-twice"] == "refused"


def test_every_refusal_of_product_audience_and_channel_is_said(tmp_path: Path) -> None:
    """F-15.1."""
    path = VENDOR.write(tmp_path / "b.tar")
    found = ids(verified(path, replace(SITE, product="large", customer="other", channel="beta")))
    assert [name for name, level in found.items() if level == "refused"] == ["product", "audience", "channel"]


@pytest.mark.parametrize(
    ("running", "ways", "problem", "remedy"),
    [
        ("1.1.0", (), "release 1.0.0 replaces no other release (`needs.from` is empty)", "waybill status"),
        ("1.1.0", (">=0.1.0, <1.0.0",), "only >=0.1.0, <1.0.0 may", "waybill status"),
        ("0.9.0", (), "release 1.0.0 replaces no other release (`needs.from` is empty)", "ask the vendor"),
        ("0.8.0", (">=0.9.0, <1.0.0",), "only >=0.9.0, <1.0.0 may", "install a release between the two first"),
    ],
)
def test_why_a_release_may_not_follow(running: str, ways: tuple[str, ...], problem: str, remedy: str) -> None:
    release, _, _ = VENDOR.but(version="1.0.0", needs_from=ways).release()
    (finding,) = judge_upgrade_path(release, replace(SITE, running=running))
    assert finding.error is not None and problem in finding.text and remedy in finding.error.remedy


@pytest.mark.parametrize(
    ("running", "fresh", "ways", "allowed"),
    [
        (None, True, (), True),
        (None, False, (">=1.0.0",), False),
        ("1.0.0", False, (">=1.0.0, <2.0.0",), True),
        ("2.0.0", True, (">=1.0.0, <2.0.0",), False),
        ("2.0.0", True, (), False),
        ("1.0.0-rc.1", False, (">=1.0.0, <2.0.0",), False),
    ],
)
def test_the_way_to_a_release(running: str | None, fresh: bool, ways: tuple[str, ...], allowed: bool) -> None:
    release, _, _ = VENDOR.but(fresh=fresh, needs_from=ways).release()
    (finding,) = judge_upgrade_path(release, replace(SITE, running=running))
    assert (finding.level == "ok") is allowed


@pytest.mark.parametrize(
    ("now", "floor", "warnings"),
    [
        ("2026-01-03T00:00:00Z", "", set()),
        ("2025-01-03T00:00:00Z", "", {"issued-in-future"}),
        ("2026-01-03T00:00:00Z", "2026-06-01T00:00:00Z", {"clock-behind"}),
        ("2001-01-01T00:00:00Z", "2026-06-01T00:00:00Z", {"clock-behind"}),
        ("2027-01-03T00:00:00Z", None, {"late"}),
        ("2001-01-01T00:00:00Z", "2027-06-01T00:00:00Z", {"clock-behind", "late"}),
    ],
)
def test_time_warns_and_never_refuses(tmp_path: Path, now: str, floor: str | None, warnings: set[str]) -> None:
    """F-14.7: a host whose clock stands at 2001 judges by the latest time that a release proved."""
    vendor = VENDOR.but(change={"next_expected_by": "2026-12-31"})
    head = verified(vendor.write(tmp_path / "b.tar")).head
    site = replace(SITE, time_floor=parse_time(floor) if floor else None)
    findings = judge_release(head, site, now=parse_time(now))
    assert {one.id for one in findings if one.level == "warning"} == warnings
    assert refusal(findings) is None


def test_findings_name_numbers_and_places(tmp_path: Path) -> None:
    path = VENDOR.write(tmp_path / "b.tar")
    found = verified(path, replace(SITE, known={Mark(epoch=1, sequence=7): "sha256:" + "0" * 64}))
    error = refusal(found.findings)
    assert error is not None and error.finding == "sequence-twice"
    assert "do not install either" in error.remedy
    line = next(one.line() for one in found.findings if one.error is error)
    assert line.startswith("refused  sequence-twice")
