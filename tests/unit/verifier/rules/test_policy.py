"""Kinds of change, and who must agree."""

from functools import cache

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from manifests.documents.approval import SignedApproval, verify_approval
from manifests.documents.policy import KINDS, ChangeRule, Policy
from manifests.documents.release import Config, Handler, Limits, Release
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import RefusedError, WaitingError
from tests.unit.manifests.documents.test_policy import KEYS, PLAN, TEXT, approval, compiled
from tests.vendor import Vendor
from verifier.rules.agreement import ApprovalStatus, count_approvals, require_approvals, roles_needed, tight_roles
from verifier.rules.change_kinds import ConfiguredRelease, kinds_of

SETTINGS = digest_of(b"settings")


def release(version: str = "1.0.0", **change: object) -> Release:
    return Vendor(version=version, images=False, change=change).release()[0]


def configured(release: Release, config: str | None = None, settings: str = SETTINGS) -> ConfiguredRelease:
    return ConfiguredRelease(release, digest_of(release.version.encode()), config, settings)


def kinds(
    old: Release | None,
    new: Release,
    *,
    config: str | None = None,
    settings: str = SETTINGS,
    irreversible: bool = False,
    channel: str = "stable",
) -> tuple[str, ...]:
    return kinds_of(
        configured(old) if old else None,
        configured(new, config, settings),
        contract=old.contract.digest if old else None,
        irreversible=irreversible,
        channel=channel,
    )


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
    assert roles_needed(compiled(), ("major", "patch")) == {"operator": 2, "security": 1}
    assert roles_needed(compiled(), ("patch",)) == {"operator": 1}


def stood(
    policy: Policy, kinds: tuple[ChangeRule, ...], verdicts: tuple[SignedApproval, ...], *proposers: str
) -> ApprovalStatus:
    return count_approvals(policy, roles_needed(policy, kinds), verdicts, proposers)


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
    require_approvals(found, "r-2.0.0")


def test_the_missing_are_named() -> None:
    found = stood(compiled(), ("major",), said(("ops-1", "approve")))
    with pytest.raises(WaitingError, match=r"r-2.0.0 waits for 1 operator, 1 security \(operator: 1 of 2") as caught:
        require_approvals(found, "r-2.0.0")
    assert caught.value.exit_code == 9


def test_who_received_it_does_not_count() -> None:
    both = said(("ops-1", "approve"), ("ops-2", "approve"), ("sec-1", "approve"))
    found = stood(compiled(), ("major",), both, "ops1")
    assert found.not_counted == ("ops-1",)
    with pytest.raises(WaitingError, match="not counted, because they proposed it: ops-1"):
        require_approvals(found, "r-2.0.0")
    # Of the two operators that are asked, one brought it: waiting for somebody would be waiting for ever.
    assert not found.possible
    with pytest.raises(WaitingError, match=r"operator: 1 of 2; only 1 can approve, proposers do not") as caught:
        require_approvals(found, "r-2.0.0")
    assert "nobody else can approve it: bring it with" in caught.value.remedy
    assert stood(compiled(TEXT.replace("counts: false", "counts: true")), ("major",), both, "ops1").met


def test_where_one_lost_key_is_enough_is_told() -> None:
    listed = {role: (people, kinds) for role, people, kinds in tight_roles(compiled())}
    assert listed["operator"][0] == 2
    assert "major" in listed["operator"][1]
    assert "patch" not in listed["operator"][1]


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
        require_approvals(found, "r-1.0.1")
    assert stood(compiled(), ("patch",), said(("ops-1", "approve"), ("ops-2", "reject"))).met


def test_the_plan_of_the_tests_is_the_one_that_was_signed() -> None:
    assert said(("ops-1", "approve"))[0].approval.plan == PLAN.digest
    assert set(KEYS) == {f"people/{name}.pub" for name in ("ops-1", "ops-2", "sec-1", "sec-1-spare")}


# --- laws of counting -----------------------------------------------------------------------------------------------

KEY_OF = {"ops-1": ("ops-1",), "ops-2": ("ops-2",), "sec-1": ("sec-1", "sec-1-spare")}
ROLE_OF = {"ops-1": "operator", "ops-2": "operator", "sec-1": "security"}
WORDS = st.lists(
    st.tuples(st.sampled_from([key for keys in KEY_OF.values() for key in keys]), st.booleans()), max_size=8
)


@cache
def word(key: str, yes: bool) -> SignedApproval:
    return said((key, "approve" if yes else "reject"))[0]


@given(kinds=st.sets(st.sampled_from(KINDS), min_size=1), words=WORDS, proposer=st.sampled_from(["ops1", "nobody"]))
@settings(deadline=None, max_examples=300)
def test_the_laws_of_counting(kinds: set[ChangeRule], words: list[tuple[str, bool]], proposer: str) -> None:
    """Against a model of a few lines: each person's last word, by whatever key; the most that any kind asks."""
    policy = compiled()
    found = stood(policy, tuple(sorted(kinds)), tuple(word(*one) for one in words), proposer)
    last = {person: yes for key, yes in words for person, keys in KEY_OF.items() if key in keys}
    agreed = {person for person, yes in last.items() if yes and not (person == "ops-1" and proposer == "ops1")}
    for one in found.roles:
        assert one.need == max(policy.rules[kind].get(one.role, 0) for kind in kinds)
        assert set(one.people) == {person for person in agreed if ROLE_OF[person] == one.role}
    vetoed = last.get("sec-1") is False
    enough = all(
        sum(ROLE_OF[person] == role for person in agreed) >= need
        for kind in kinds
        for role, need in policy.rules[kind].items()
    )
    assert found.met == (enough and not vetoed)
    # A word more that agrees never loses what was met; a kind more never asks for less.
    if found.met and not vetoed:
        assert stood(policy, tuple(sorted(kinds)), (*(word(*one) for one in words), word("ops-2", True)), proposer).met
    for kind in KINDS:
        wider = roles_needed(policy, {*kinds, kind})
        assert all(wider[role] >= need for role, need in roles_needed(policy, kinds).items())
