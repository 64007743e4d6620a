"""A trusted root says when logs and authorities were valid: nothing made outside counts; both ends are inside."""

import json
from datetime import timedelta
from hashlib import sha256

import pytest

from content.sigstore.judge import NotBySignerError
from content.sigstore.keyless import identity_judge
from content.sigstore.periods import Period, narrow, read_period
from content.sigstore.rekor import ExpectedEntry, promised_at, read_logs, verify_entries
from content.sigstore.sigstore_bundle import parse_sigstore_bundle
from manifests.words.errors import MalformedError, UntrustedError
from tests.keyless import IDENTITY, ISSUER, Sigstore, spki, with_period
from tests.signed_images import CI, dump, sign

MESSAGE = b"message"
FIRST, SECOND = Sigstore(), Sigstore(rekor=2)
LONG_AGO = "2025-01-01T00:00:00Z"
# The certificate is valid from 12:00:00 to 12:10:00, the log promises 12:00:02, and the stamp says 12:00:03.
DAY = "2026-01-01T"

INSIDE: list[tuple[Sigstore, str, str, str]] = [
    (FIRST, "tlogs", LONG_AGO, "12:00:02Z"),
    (FIRST, "tlogs", DAY + "12:00:02Z", "12:00:02Z"),
    (FIRST, "tlogs", DAY + "13:00:02+01:00", "12:00:02.000Z"),
    (FIRST, "ctlogs", LONG_AGO, "12:00:00Z"),
    (FIRST, "ctlogs", DAY + "12:10:00Z", "23:00:00Z"),
    (FIRST, "certificateAuthorities", LONG_AGO, "12:00:00Z"),
    (FIRST, "certificateAuthorities", DAY + "12:10:00Z", "23:00:00Z"),
    (SECOND, "tlogs", LONG_AGO, "12:00:00Z"),
    (SECOND, "timestampAuthorities", LONG_AGO, "12:00:03Z"),
    (SECOND, "timestampAuthorities", DAY + "12:00:03Z", "12:00:03Z"),
]
OUTSIDE: list[tuple[Sigstore, str, str, str]] = [
    (FIRST, "tlogs", LONG_AGO, "12:00:01Z"),
    (FIRST, "tlogs", DAY + "12:00:03Z", "23:00:00Z"),
    (FIRST, "ctlogs", LONG_AGO, "11:59:59Z"),
    (FIRST, "certificateAuthorities", LONG_AGO, "11:59:59Z"),
    (FIRST, "certificateAuthorities", DAY + "12:10:01Z", "23:00:00Z"),
    (SECOND, "tlogs", LONG_AGO, "11:59:59Z"),
    (SECOND, "timestampAuthorities", LONG_AGO, "12:00:02.999999Z"),
    (SECOND, "timestampAuthorities", DAY + "12:00:04Z", "23:00:00Z"),
]


def judge(sigstore: Sigstore, trusted: bytes) -> None:
    pytest.importorskip("sigstore", reason="sigstore is not installed")
    opened = parse_sigstore_bundle(sigstore.sign_message(MESSAGE))
    identity_judge("ci", IDENTITY, ISSUER, trusted).digest(opened, sha256(MESSAGE).digest())


# F-11.5
@pytest.mark.parametrize(("sigstore", "name", "start", "end"), INSIDE)
def test_within_the_period(sigstore: Sigstore, name: str, start: str, end: str) -> None:
    judge(sigstore, with_period(sigstore.trusted_root(), name, start=start, end=DAY + end))


# F-11.5
@pytest.mark.parametrize(("sigstore", "name", "start", "end"), OUTSIDE)
def test_outside_of_the_period(sigstore: Sigstore, name: str, start: str, end: str) -> None:
    with pytest.raises(NotBySignerError) as caught:
        judge(sigstore, with_period(sigstore.trusted_root(), name, start=start, end=DAY + end))
    assert caught.value.opinion == "wrong"
    if name != "timestampAuthorities":
        assert f"nothing in {name} was valid at the time of the signature (" in caught.value.text


# F-11.5
def test_a_stamp_is_judged_at_its_own_time() -> None:
    """The authority's certificates have ended since; they must have been valid when it stamped."""
    ended = Sigstore(rekor=2, stamp_life=timedelta(minutes=1))
    judge(ended, ended.trusted_root())
    before = Sigstore(rekor=2, stamp_life=timedelta(seconds=-1))
    with pytest.raises(NotBySignerError):
        judge(before, before.trusted_root())


def test_an_authority_that_ended_does_not_spoil_the_one_that_followed() -> None:
    fields = json.loads(FIRST.trusted_root())
    for name in ("tlogs", "ctlogs", "certificateAuthorities"):
        ended = json.loads(with_period(FIRST.other().trusted_root(), name, start=LONG_AGO, end=LONG_AGO))[name]
        fields[name] = [*ended, *fields[name]]
    judge(FIRST, dump(fields))


def by_key(trusted: bytes) -> None:
    signature = sign(CI, MESSAGE)
    entry = FIRST.record_key(CI, MESSAGE, signature)
    expected = ExpectedEntry(sha256(MESSAGE).digest(), b"", signature, spki(CI))
    verify_entries([entry], read_logs(trusted, "test"), expected, "test")


# F-11.9
def test_the_promise_of_a_log_beside_a_key() -> None:
    root = FIRST.trusted_root()
    by_key(with_period(root, "tlogs", start=DAY + "12:00:02Z", end=DAY + "12:00:02Z"))
    for start, end in ((LONG_AGO, DAY + "12:00:01Z"), (DAY + "12:00:03Z", DAY + "23:00:00Z")):
        with pytest.raises(UntrustedError) as caught:
            by_key(with_period(root, "tlogs", start=start, end=end))
        assert f"promised at 2026-01-01T12:00:02Z, and the key of the log was valid from {start} to {end}" in str(
            caught.value
        )


@pytest.mark.parametrize("period", [{}, {"end": LONG_AGO}, {"start": "soon"}, {"start": LONG_AGO, "end": ""}])
def test_a_period_without_a_start_or_with_no_time(period: dict[str, str]) -> None:
    with pytest.raises(MalformedError):
        by_key(with_period(FIRST.trusted_root(), "tlogs", **period))
    if "start" not in period:
        with pytest.raises(MalformedError):
            judge(FIRST, with_period(FIRST.trusted_root(), "tlogs", **period))


def test_a_key_without_a_period_is_always_valid() -> None:
    assert read_period({}, "test") == Period()
    assert str(Period()) == "always"
    assert str(read_period({"validFor": {"start": LONG_AGO}}, "test")) == f"from {LONG_AGO}"
    fields = json.loads(FIRST.trusted_root())
    del fields["tlogs"][0]["publicKey"]["validFor"]
    by_key(dump(fields))


def test_the_last_moment_of_all_is_an_end_as_well() -> None:
    root = with_period(SECOND.trusted_root(), "timestampAuthorities", start=LONG_AGO, end="9999-12-31T23:59:59.999999Z")
    judge(SECOND, root)


def test_a_list_that_is_none() -> None:
    with pytest.raises(MalformedError):
        narrow(dump({"tlogs": {}}), Period(), Period(), "test")


@pytest.mark.parametrize("entries", [(), [], [{}], "x", [{"inclusionPromise": {}, "integratedTime": "5"}]])
def test_an_entry_without_a_promise_says_no_time(entries: object) -> None:
    assert promised_at(entries, "test") is None


def test_a_promised_time_that_is_none() -> None:
    with pytest.raises(MalformedError):
        promised_at([{"inclusionPromise": {"signedEntryTimestamp": ""}, "integratedTime": "9007199254740991"}], "test")
