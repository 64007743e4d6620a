"""policy.yaml as a proposal: who decides, what is refused, what root on the host cannot do, a quorum that is lost."""

import shutil
from pathlib import Path

import pytest

from content.differences.documents import policy_differences
from manifests.documents.approval import Approval, sign_approval
from manifests.documents.plan import Plan
from manifests.trust.private_keys import generate_key
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from manifests.words.errors import MalformedError, RefusedError, UntrustedError, UsageError, WaitingError
from tests.faults.model import QuickDisk
from tests.governed import PEOPLE, TAIL, agree, govern, policy_text, write_policy
from tests.place import Place, make_place
from tests.printed import printed
from tests.vendor import CONSIGNMENT, RELEASE, ROLLBACK, ROOT, Vendor
from verifier.approval.items import approvable_of, record_proposals
from verifier.approval.page import Section
from verifier.approval.policy_change import PolicyReplacement, install_policy, policy_change, replace_policy
from verifier.approval.queue import waiting_items
from verifier.approval.review import make_review
from verifier.approval.review_input import read_review_input
from verifier.approval.review_page import agreement_section, make_review_page
from verifier.approval.verdicts import approval_status
from verifier.reporting.status import read_status
from verifier.runtime.drivers.driver import load_driver
from verifier.site.journal.events import PolicyInForce


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return govern(make_place(tmp_path_factory.mktemp("made"), Vendor(), disk=QuickDisk()))


@pytest.fixture
def place(made: Place, tmp_path: Path) -> Place:
    """A copy of the governed site, with policy 2 in force."""
    shutil.copytree(made.path, tmp_path / "site")
    return Place(path=tmp_path / "site", disk=QuickDisk(), people=dict(made.people))


def put(place: Place) -> None:
    with place.hold() as site:
        install_policy(site)


def test_a_change_binds_when_the_people_of_the_policy_in_force_agree(place: Place) -> None:
    proposed = write_policy(
        place, policy_text(3, people={**PEOPLE, "ops-3": "operator"}, rules={"patch": "{operator: 2}"})
    )
    assert place.open().policy.number == 2
    items = {one.item: one for one in waiting_items(place.open())}
    assert {one.role: (one.have, one.need) for one in items["policy"].roles} == {"operator": (0, 1), "security": (0, 1)}
    # Who is new is not asked: the change is the old people's.
    with pytest.raises(RefusedError, match="belongs to no person of policy 2"):
        place.approve("policy", "ops-3")
    place.approve("policy", "ops-1")
    with pytest.raises(WaitingError, match="policy waits for 1 security"):
        put(place)
    place.approve("policy", "sec-1")
    put(place)
    site = place.open()
    assert site.policy == proposed
    event = site.state.trust.policies[-1]
    assert (event.number, len(event.approvals), event.reason, event.gone) == (3, 2, None, ())
    assert waiting_items(site) == ()
    place.receive(Vendor().write(place.path.parent / "1.tar"))
    place.approve("r-1.0.0", "ops-3")


def test_the_review_says_who_joins_and_leaves_and_what_each_rule_becomes(place: Place) -> None:
    people = {name: role for name, role in PEOPLE.items() if name != "ops-2"} | {
        "ops-3": "operator",
        "dpo-1": "security",
    }
    tail = TAIL.replace("time: warn", "time: enforce").replace("veto: [security]", "veto: []")
    rules = {
        "patch": "{security: 1}",
        "contract": "{security: 1}",
        "major": "{operator: 1}",
        "irreversible": "{operator: 1}",
    }
    write_policy(place, policy_text(3, people=people, rules=rules, tail=tail))
    site = place.open()
    change = policy_change(site)
    review = make_review(read_review_input(site, change, load_driver))
    assert review.subject == change.digest
    said = {one.name: (one.how, one.before, one.after) for one in review.part("policy")}
    assert {name: words[0] for name, words in said.items()} == {
        "number": "changed",
        "person ops-3": "added",
        "person ops-2": "removed",
        "person dpo-1": "changed",
        "rule patch": "changed",
        "rule contract": "changed",
        "rule major": "changed",
        "rule irreversible": "changed",
        "veto": "changed",
        "time": "changed",
    }
    assert said["rule patch"][1:] == ("1 operator", "1 security")
    assert said["rule major"][1:] == ("2 operator, 1 security", "1 operator")
    assert said["veto"][1:] == ("security", "nobody")
    assert str(said["person ops-3"][2]).startswith("operator, key ")
    assert str(said["person dpo-1"][1]).startswith("privacy, key ")
    text = printed(make_review_page(review, agreement_section(change, approval_status(site, change))))
    for words in ("policy: policy 2 to 3", "rule patch", "1 operator", "waybill approve policy --plan sha256:"):
        assert words in text
    assert policy_differences(site.policy, site.policy) == ()


@pytest.mark.parametrize("number", [1, 2, 4])
def test_the_number_grows_by_one(place: Place, number: int) -> None:
    write_policy(place, policy_text(number, rules={"patch": "{operator: 2}"}))
    with pytest.raises(RefusedError, match=f"has number {number}; the next number is 3") as caught:
        place.approve("policy")
    assert caught.value.finding == "policy-number"


@pytest.mark.parametrize("key", [ROOT, RELEASE, CONSIGNMENT, ROLLBACK])
def test_no_key_of_the_vendor_in_whatever_role_is_anybodys(place: Place, key: object) -> None:
    place.people["ops-3"] = key  # type: ignore[assignment]  # one of the vendor's signers
    write_policy(place, policy_text(3, people={**PEOPLE, "ops-3": "operator"}))
    with pytest.raises(RefusedError, match="is one of the vendor's") as caught:
        place.approve("policy")
    assert caught.value.finding == "vendor-approves"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (policy_text(3).replace("veto: [security]", "veto: &v [security]"), "anchor"),
        (policy_text(3) + "backdoor: true\n", "unknown field `backdoor`"),
        (policy_text(3).replace("patch: {operator: 1}", "patch: {operator: 9}"), "asks for 9 of role operator"),
        (policy_text(3).replace("patch: {operator: 1}", "patch: {}"), "the rule names no role"),
    ],
)
def test_a_file_that_cannot_hold_is_refused_with_its_line(place: Place, text: str, problem: str) -> None:
    (place.path / "policy.yaml").write_text(text)
    with pytest.raises(MalformedError) as caught:
        place.approve("policy")
    assert problem in str(caught.value)
    assert "policy.yaml:" in caught.value.where
    (item,) = waiting_items(place.open())
    assert problem in (item.problem or "")


# --- root on the host -----------------------------------------------------------------------------------------------


def test_root_edits_the_file_and_nothing_changes(place: Place) -> None:
    place.receive(Vendor().write(place.path.parent / "1.tar"))
    lowered = dict.fromkeys(("major", "contract", "policy", "minor"), "{operator: 1}")
    write_policy(place, policy_text(2, rules=lowered))
    place.approve("r-1.0.0", "ops-1")
    with pytest.raises(WaitingError, match="1 operator, 1 privacy, 1 security"):
        place.install("r-1.0.0")
    write_policy(place, policy_text(3, rules=lowered))
    place.approve("policy", "ops-1")
    with pytest.raises(WaitingError, match="policy waits for 1 security"):
        put(place)


def test_root_writes_the_journal_and_every_verb_says_so(place: Place) -> None:
    """The entry is well-formed and chained; nobody of the policy before has signed for it."""
    mine = write_policy(
        place, policy_text(3, people={"ops-3": "operator"}, rules=dict.fromkeys(RULES, "{operator: 1}"), tail=ALONE)
    )
    with place.hold() as site:
        digest = site.keep_document(encode(mine))
        site.record(PolicyInForce(number=3, digest=digest))
    with pytest.raises(
        UntrustedError, match="policy 3 in the journal was not approved by the people of the policy before"
    ) as caught:
        place.receive(Vendor().write(place.path.parent / "1.tar"))
    assert caught.value.finding == "policy-unproved"
    with pytest.raises(UntrustedError, match="was not approved by the people"):
        place.approve("policy", "ops-3")
    status = read_status(place.open(), (), None, place.clock.at)
    assert status.text.startswith("! ")
    assert status.error is not None
    assert status.error.problem.startswith("policy 3 in the journal was not approved by the people of the policy")
    assert status.error.exit_code == 4


RULES = ("minor", "major", "channel", "contract", "policy", "offboard", "irreversible")
ALONE = TAIL.replace("veto: [security]", "veto: []")


def test_root_signs_for_it_with_a_key_of_their_own_policy(place: Place) -> None:
    """The approvals that carry a policy are judged by the one before it, never by itself."""
    mine = write_policy(
        place, policy_text(3, people={"ops-3": "operator"}, rules=dict.fromkeys(RULES, "{operator: 1}"), tail=ALONE)
    )
    stranger = place.people["ops-3"]
    with place.hold() as site:
        state = site.state
        plan = Plan(
            site=state.site,
            site_key=state.site_key.keyid,
            action="policy",
            last_change=state.last_change,
            policy=state.trust.policy,
            subject=digest_of(encode(mine)),
            kinds=("policy",),
        )
        said = Approval(plan=plan.digest, verdict="approve", keyid=stranger.public.keyid, role="operator")
        approval = site.keep_document(sign_approval(said, stranger))
        site.keep_document(encode(plan))
        digest = site.keep_document(encode(mine))
        site.record(PolicyInForce(number=3, digest=digest, plan=plan.digest, approvals=(approval,)))
    with pytest.raises(UntrustedError, match="belongs to no person of policy 2"):
        _ = place.open().policy


def test_approvals_of_one_policy_do_not_carry_another(place: Place) -> None:
    write_policy(place, policy_text(3, rules={"patch": "{operator: 2}"}))
    agree(place, "policy", "ops-1", "sec-1")
    write_policy(place, policy_text(3, rules={"patch": "{security: 1}"}))
    with pytest.raises(WaitingError, match="1 operator, 1 security"):
        put(place)
    site = place.open()
    standing = approval_status(site, approvable_of(site, ("policy",)))
    assert [(one.person, one.finding) for one in standing.void] == [
        ("ops-1", "approval-other-plan"),
        ("sec-1", "approval-other-plan"),
    ]
    assert {one.why for one in standing.void} == {"given for another plan; changed since: policy.yaml"}


# --- who left -------------------------------------------------------------------------------------------------------


def test_approvals_under_an_older_policy_and_by_people_who_left_are_void(place: Place) -> None:
    place.receive(Vendor().write(place.path.parent / "1.tar"))
    agree(place, "r-1.0.0", "ops-1", "ops-2", "sec-1", "dpo-1")
    site = place.open()
    assert approval_status(site, approvable_of(site, ("r-1.0.0",))).met
    write_policy(
        place,
        policy_text(3, people={"ops-1": "operator", "ops-3": "operator", "sec-1": "security", "dpo-1": "privacy"}),
    )
    agree(place, "policy", "ops-1", "sec-1")
    put(place)
    site = place.open()
    standing = approval_status(site, approvable_of(site, ("r-1.0.0",)))
    assert not standing.met
    assert {one.person: one.finding for one in standing.void} == {
        "ops-1": "approval-older-policy",
        "ops-2": "approval-person-left",
        "sec-1": "approval-older-policy",
        "dpo-1": "approval-older-policy",
    }
    with pytest.raises(WaitingError, match="2 operator, 1 privacy, 1 security"):
        place.install("r-1.0.0")
    (item,) = waiting_items(site)
    assert item.head.since == site.state.last_change_at


# --- a quorum that can no longer be met -----------------------------------------------------------------------------


def founding(
    place: Place, *gone: str, reason: str = "both left the company", paper: str | None = None
) -> PolicyReplacement:
    return PolicyReplacement(gone=gone, reason=reason, fingerprint=paper or policy_change(place.open()).digest)


def found(place: Place, how: PolicyReplacement) -> None:
    with place.hold() as site:
        replace_policy(site, how)


def test_those_who_are_left_found_it_anew_and_it_is_told(place: Place) -> None:
    proposed = write_policy(place, policy_text(3, people={**PEOPLE, "sec-1": "security", "ops-3": "operator"}))
    with pytest.raises(WaitingError, match="policy waits for 1 operator") as caught:
        found(place, founding(place, "sec-1"))
    assert "let each person who is left run" in caught.value.remedy
    place.approve("policy", "ops-1")
    with pytest.raises(WaitingError, match="1 security"):
        put(place)
    found(place, founding(place, "sec-1"))
    state = place.open().state
    assert place.open().policy == proposed
    assert (state.trust.policies[-1].gone, state.trust.policies[-1].reason) == (("sec-1",), "both left the company")
    assert [(one.code, one.digest) for one in state.alarms] == [("policy-refounded", state.trust.policy)]
    assert "without sec-1: both left the company" in state.alarms[0].detail


def test_when_nobody_at_all_is_left(place: Place) -> None:
    write_policy(place, policy_text(3, people={**PEOPLE, "ops-3": "operator"}))
    found(place, founding(place, *PEOPLE))
    assert place.open().policy.number == 3
    assert place.open().state.alarms[0].code == "policy-refounded"


def test_what_it_does_not_do(place: Place) -> None:
    write_policy(place, policy_text(3, people={**PEOPLE, "ops-3": "operator"}))
    with pytest.raises(RefusedError, match="can still meet the rule `policy`: 1 operator, 1 security") as refused:
        found(place, founding(place, "ops-2"))
    assert refused.value.finding == "quorum-possible"
    with pytest.raises(UsageError, match="policy 2 does not list somebody"):
        found(place, founding(place, "somebody"))
    with pytest.raises(UsageError, match="no reason is given"):
        found(place, founding(place, "sec-1", reason="  "))
    with pytest.raises(RefusedError, match="the paper names") as other:
        found(place, founding(place, "sec-1", paper=digest_of(b"another")))
    assert other.value.finding == "policy-other"
    place.approve("policy", "ops-1", verdict="reject")
    with pytest.raises(WaitingError):
        found(place, founding(place, "sec-1"))
    place.approve("policy", "ops-1")
    # A security officer who is there and says no still ends it.
    place.approve("policy", "sec-1", verdict="reject")
    with pytest.raises(RefusedError, match="was rejected by sec-1"):
        found(place, founding(place, "dpo-1", "ops-1", "ops-2"))


def test_where_one_lost_key_is_enough_is_to_be_weighed(place: Place) -> None:
    write_policy(place, policy_text(3))
    review = make_review(read_review_input(place.open(), policy_change(place.open()), load_driver))
    text = printed(make_review_page(review, Section("who must agree")))
    assert "contract: needs the only person of role privacy" in text.partition("\nwho must agree")[0]
    assert "major, irreversible: needs all 2 people of role operator" in text
    write_policy(place, policy_text(3, tail=TAIL.replace("proposer_counts: true", "proposer_counts: false")))
    review = make_review(read_review_input(place.open(), policy_change(place.open()), load_driver))
    assert "also when one of them proposed the change and does not count" in review.findings[0][2]


# --- the proposer ---------------------------------------------------------------------------------------------------


def test_who_owns_the_file_is_the_proposer_and_stays_so(place: Place) -> None:
    me = (place.path / "policy.yaml").owner()
    text = policy_text(3, tail=TAIL.replace("proposer_counts: true", "proposer_counts: false"))
    text = text.replace("keys: [people/ops-1.pub]}", f"keys: [people/ops-1.pub], accounts: [{me}]}}")
    write_policy(place, text)
    agree(place, "policy", "ops-1", "sec-1")
    put(place)
    write_policy(place, text.replace("policy: 3", "policy: 4"))
    agree(place, "policy", "ops-1", "sec-1")
    site = place.open()
    assert approval_status(site, policy_change(site)).not_counted == ("ops-1",)
    (noted,) = site.state.trust.proposed
    assert (noted.item, noted.account) == ("policy", me)
    (item,) = waiting_items(site)
    assert item.head.since == noted.at
    place.approve("policy", "ops-2")
    put(place)
    assert place.open().state.trust.proposed == ()


def test_a_proposal_is_noted_once(place: Place) -> None:
    place.people["nobody"] = generate_key()
    write_policy(place, policy_text(3))
    with place.hold() as site:
        record_proposals(site)
        before = site.state.seq
        record_proposals(site)
        assert site.state.seq == before


def test_approvals_that_made_a_policy_are_not_void_for_the_next(place: Place) -> None:
    write_policy(place, policy_text(3, rules={"patch": "{operator: 2}"}))
    agree(place, "policy", "ops-1", "sec-1")
    put(place)
    write_policy(place, policy_text(4, rules={"patch": "{operator: 1}"}))
    asked = approvable_of(place.open(), ("policy",))
    status = approval_status(place.open(), asked)
    assert (status.met, status.void) == (False, ())
    # One that no policy used is void when the proposal changes.
    place.approve("policy", "ops-1")
    write_policy(place, policy_text(4, rules={"patch": "{operator: 2}", "minor": "{operator: 2}"}))
    (void,) = approval_status(place.open(), approvable_of(place.open(), ("policy",))).void
    assert void.person == "ops-1"
