"""Kinds of change, and who must agree."""

import pytest

from manifests.approval import SignedApproval, verify_approval
from manifests.digest import Blob, digest_of
from manifests.errors import RefusedError, WaitingError
from manifests.policy import Kind, Policy
from manifests.release import Config, Handler, Limits, Release
from tests.unit.manifests.test_policy import KEYS, PLAN, TEXT, approval, compiled
from tests.vendor import Vendor
from verifier.policy import Before, Standing, kinds_of, needs_of, require, stand

SETTINGS = digest_of(b"settings")


def release(version: str = "1.0.0", **change: object) -> Release:
    return Vendor(version=version, images=False, change=change).release()[0]


def before(found: Release) -> Before:
    return Before(release=found, digest=digest_of(found.version.encode()), config=None, settings=SETTINGS)


def kinds(old: Release | None, new: Release, **options: object) -> tuple[str, ...]:
    given: dict[str, object] = {
        "contract": old.contract.digest if old else None,
        "config": None,
        "settings": SETTINGS,
        "irreversible": False,
        "channel": "stable",
        **options,
    }
    was = before(old) if old else None
    return kinds_of(was, new, digest_of(new.version.encode()), **given)  # type: ignore[arg-type]  # by name


HANDLER = Handler(
    name="queue-depth",
    does="counts",
    source="src",
    run=("admin", "count"),
    may=("read",),
    risk="read-only",
    repeatable=True,
    limits=Limits(seconds=1, memory_bytes=1, output_bytes=1),
)
SCHEMA = Config(schema=Blob(digest=digest_of(b"{}"), size=2), version=1)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (None, release(), ("contract", "major")),
        (release(), release("1.0.1"), ("patch",)),
        (release(), release("1.1.0"), ("minor",)),
        (release(), release("2.0.0"), ("major",)),
        (release("1.1.0"), release("1.0.9"), ("major",)),
        (release(), release("1.0.1-rc.1"), ("major",)),
        (release(), release("1.0.1", contract=Blob(digest=digest_of(b"x"), size=1)), ("contract", "patch")),
        (release(), release("1.0.1", config=SCHEMA), ("config-schema", "patch")),
        (release(), release("1.0.1", handlers=(HANDLER,)), ("handlers", "patch")),
        (release(handlers=(HANDLER,)), release("1.0.1", handlers=(HANDLER,)), ("patch",)),
        (release(handlers=(HANDLER,)), release("1.0.1"), ("patch",)),
        (None, release(handlers=(HANDLER,)), ("contract", "handlers", "major")),
        (release(), release(), ()),
    ],
)
def test_kinds_of_a_release(old: Release | None, new: Release, expected: tuple[str, ...]) -> None:
    assert kinds(old, new) == expected


def test_kinds_of_config() -> None:
    assert kinds(release(), release(), config=digest_of(b"other")) == ("config",)
    assert kinds(release(), release(), settings=digest_of(b"other")) == ("config",)
    assert kinds(release(), release("1.0.1"), settings=digest_of(b"other")) == ("config", "patch")
    assert kinds(release(), release("1.0.1"), irreversible=True) == ("irreversible", "patch")


def test_several_kinds_ask_for_the_most_that_any_asks() -> None:
    assert needs_of(compiled(), ("major", "patch")) == {"operator": 2, "security": 1}
    assert needs_of(compiled(), ("patch",)) == {"operator": 1}


def stood(policy: Policy, kinds: tuple[Kind, ...], verdicts: tuple[SignedApproval, ...], *proposers: str) -> Standing:
    return stand(policy, needs_of(policy, kinds), verdicts, proposers)


def said(*verdicts: tuple[str, str]) -> tuple[SignedApproval, ...]:
    roles = {"ops": "operator", "sec": "security"}
    return tuple(
        verify_approval(approval(f"people/{who}.pub", roles[who[:3]], verdict), compiled()) for who, verdict in verdicts
    )


def test_people_are_counted_not_keys() -> None:
    twice = said(("sec-1", "approve"), ("sec-1-spare", "approve"))
    found = stood(compiled(TEXT.replace("operator: 2", "operator: 1")), ("major",), twice)
    assert {one.role: one.have for one in found.roles} == {"operator": 0, "security": 1}
    assert len(found.approvals) == 1


def test_all_of_them_agree() -> None:
    found = stood(compiled(), ("major",), said(("ops-1", "approve"), ("ops-2", "approve"), ("sec-1", "approve")))
    assert found.met
    require(found, "r-2.0.0")


def test_the_missing_are_named() -> None:
    found = stood(compiled(), ("major",), said(("ops-1", "approve")))
    with pytest.raises(WaitingError, match=r"r-2.0.0 waits for 1 operator, 1 security \(operator: 1 of 2") as caught:
        require(found, "r-2.0.0")
    assert caught.value.exit_code == 9


def test_who_received_it_does_not_count() -> None:
    both = said(("ops-1", "approve"), ("ops-2", "approve"), ("sec-1", "approve"))
    found = stood(compiled(), ("major",), both, "ops1")
    assert found.not_counted == ("ops-1",)
    with pytest.raises(WaitingError, match="not counted, because they brought it: ops-1"):
        require(found, "r-2.0.0")
    assert stood(compiled(TEXT.replace("counts: false", "counts: true")), ("major",), both, "ops1").met


def test_the_last_word_counts() -> None:
    taken_back = said(("ops-1", "approve"), ("ops-1", "reject"))
    found = stood(compiled(), ("patch",), taken_back)
    assert not found.met
    assert found.rejected == ("ops-1",)
    again = said(("ops-1", "reject"), ("ops-1", "approve"))
    assert stood(compiled(), ("patch",), again).met


def test_a_veto_ends_it_and_an_operators_no_does_not() -> None:
    found = stood(compiled(), ("patch",), said(("ops-1", "approve"), ("sec-1", "reject")))
    with pytest.raises(RefusedError, match="was rejected by sec-1"):
        require(found, "r-1.0.1")
    assert stood(compiled(), ("patch",), said(("ops-1", "approve"), ("ops-2", "reject"))).met


def test_the_plan_of_the_tests_is_the_one_that_was_signed() -> None:
    assert said(("ops-1", "approve"))[0].approval.plan == PLAN.digest
    assert set(KEYS) == {f"people/{name}.pub" for name in ("ops-1", "ops-2", "sec-1", "sec-1-spare")}
