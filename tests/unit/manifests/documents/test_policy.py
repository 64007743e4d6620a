"""policy.yaml, compiled; the plan's identity; approvals."""

import re

import msgspec
import pytest

from manifests.authored.handwritten import parse_handwritten
from manifests.authored.policy_yaml import compile_policy
from manifests.documents.approval import Approval, sign_approval, verify_approval
from manifests.documents.plan import Plan, parse_plan
from manifests.documents.policy import KINDS, Policy, parse_policy
from manifests.trust.keys import PublicKey
from manifests.trust.private_keys import generate_key
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from manifests.words.errors import MalformedError, RefusedError, UntrustedError

RULES = "\n".join(f"  {kind}: {{operator: 1}}" for kind in KINDS if kind not in ("major", "export"))
TEXT = f"""\
waybill: 1
policy: 4
people:
  ops-1: {{role: operator, keys: [people/ops-1.pub], accounts: [ops1]}}
  ops-2: {{role: operator, keys: [people/ops-2.pub]}}
  sec-1: {{role: security, keys: [people/sec-1.pub, people/sec-1-spare.pub]}}
rules:
{RULES}
  major: {{operator: 2, security: 1}}
  export: automatic
veto: [security]
proposer_counts: false
emergency:
  - name: critical-fix
    when: {{severity: [critical], change: patch, rollback: [stateless]}}
    never: [contract]
    needs: {{operator: 1}}
    uses: 2
    until_installs: 20
commands:
  inventory: allowed
  push-images-again: {{operator: 1}}
confirm: {{by: probes, or_person: operator}}
time: warn
windows: {{enforce: false, times: ["sat 22:00-04:00 UTC"]}}
refuse: {{everyone_audience: true, unsigned_images: false}}
"""
KEYS = {path: generate_key() for path in re.findall(r"people/[a-z0-9-]+\.pub", TEXT)}


def read(path: str) -> PublicKey:
    return KEYS[path].public


def compiled(text: str = TEXT) -> Policy:
    return compile_policy(parse_handwritten(text.encode(), "policy.yaml"), read)


def test_compiled_and_read_back() -> None:
    policy = compiled()
    assert parse_policy(encode(policy)) == policy
    assert policy.number == 4
    assert set(policy.rules) == set(KINDS)
    assert policy.rules["export"] == {}
    assert policy.commands == {"inventory": {}, "push-images-again": {"operator": 1}}
    spare = KEYS["people/sec-1-spare.pub"].public
    found = policy.person_of(spare.keyid)
    assert found is not None
    assert found[0] == "sec-1"
    assert policy.key_of(spare.keyid) == spare
    assert policy.person_of("0" * 64) is None


def test_another_key_in_the_same_file_is_another_policy() -> None:
    other = compile_policy(
        parse_handwritten(TEXT.encode(), "policy.yaml"),
        lambda path: generate_key().public if path == "people/ops-2.pub" else read(path),
    )
    assert digest_of(encode(other)) != digest_of(encode(compiled()))


@pytest.mark.parametrize(
    ("change", "problem", "line"),
    [
        (("  patch: {operator: 1}\n", ""), "the rule 'patch' is missing", 7),
        (("{operator: 2, security: 1}", "{operator: 3}"), "asks for 3 of role operator, 2 are listed", 20),
        (("  minor: {operator: 1}", "  minor: automatic"), "minor cannot be automatic", None),
        (("  minor: {operator: 1}", "  minor: {}"), "the rule names no role", None),
        (("people/ops-2.pub", "people/ops-1.pub"), "is listed for ops-1 and again for ops-2", 5),
        (("veto: [security]", "veto: [ghosts]"), "nobody has the role ghosts", None),
        (("or_person: operator", "or_person: nobody"), "nobody has the role nobody", None),
        (("sat 22:00-04:00 UTC", "saturday night"), "'saturday night' is not a window", None),
        (("uses: 2", "uses: 0"), "expected a number >= 1", None),
        (("policy: 4", "policy: 4\nroot: yes-please"), "unknown field `root`", None),
        (("  patch: {operator: 1}", "  patch: {operator: 1}\n  pach: {operator: 1}"), "", None),
        (("time: warn", "time: never"), "invalid enum value", None),
    ],
)
def test_refused_with_its_line(change: tuple[str, str], problem: str, line: int | None) -> None:
    assert change[0] in TEXT
    with pytest.raises(MalformedError) as caught:
        compiled(TEXT.replace(*change))
    assert problem.lower() in caught.value.problem.lower()
    assert caught.value.where.startswith("policy.yaml:")
    if line is not None:
        assert caught.value.where == f"policy.yaml:{line}"


PLAN = Plan(
    site="a/b/c/d",
    site_key="1" * 64,
    action="install",
    generation=3,
    last_change=digest_of(b"entry"),
    releases=(digest_of(b"release"),),
    config=digest_of(b"config"),
    settings=digest_of(b"settings"),
    policy=digest_of(b"policy"),
    contract=digest_of(b"contract"),
    kinds=("contract", "minor"),
)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("site", "a/b/c/e"),
        ("site_key", "2" * 64),
        ("action", "rollback"),
        ("generation", 4),
        ("last_change", digest_of(b"other")),
        ("releases", (digest_of(b"other"),)),
        ("config", digest_of(b"other")),
        ("config", None),
        ("settings", digest_of(b"other")),
        ("policy", digest_of(b"other")),
        ("contract", digest_of(b"other")),
        ("kinds", ("minor",)),
    ],
)
def test_everything_in_a_plan_is_its_identity(field: str, value: object) -> None:
    assert msgspec.structs.replace(PLAN, **{field: value}).digest != PLAN.digest
    assert parse_plan(encode(PLAN)).digest == PLAN.digest


def approval(path: str = "people/ops-1.pub", role: str = "operator", verdict: str = "approve") -> bytes:
    signer = KEYS[path]
    said = Approval(plan=PLAN.digest, verdict=verdict, keyid=signer.public.keyid, role=role)  # type: ignore[arg-type]  # one of the two words
    return sign_approval(said, signer)


def test_an_approval_names_a_key_and_the_policy_knows_whose() -> None:
    found = verify_approval(approval(), compiled())
    assert (found.person, found.approval.plan) == ("ops-1", PLAN.digest)
    assert b"ops-1" not in found.raw


def test_a_changed_approval_is_refused() -> None:
    good, policy = approval(), compiled()
    for at in range(len(good)):
        data = bytearray(good)
        data[at] ^= 1
        with pytest.raises((MalformedError, RefusedError, UntrustedError)):
            verify_approval(bytes(data), policy)


def test_a_key_that_left_the_policy_is_nobody() -> None:
    without = TEXT.replace("  ops-2: {role: operator, keys: [people/ops-2.pub]}\n", "").replace(
        "operator: 2", "operator: 1"
    )
    with pytest.raises(RefusedError, match="belongs to no person of policy 4"):
        verify_approval(approval("people/ops-2.pub"), compiled(without))


def test_nobody_chooses_a_role() -> None:
    with pytest.raises(RefusedError, match="ops-1 approves as security, policy 4 lists them as operator"):
        verify_approval(approval(role="security"), compiled())


def test_a_signature_by_another_key_of_the_same_person_is_not_the_named_one() -> None:
    first, spare = KEYS["people/sec-1.pub"], KEYS["people/sec-1-spare.pub"]
    said = Approval(plan=PLAN.digest, verdict="approve", keyid=first.public.keyid, role="security")
    with pytest.raises(ValueError, match="signed by the key that it names"):
        sign_approval(said, spare)
    from manifests.documents.approval import APPROVAL_TYPE
    from manifests.trust.envelope_writer import seal

    with pytest.raises(MalformedError, match="exactly one signature"):
        verify_approval(seal(encode(said), APPROVAL_TYPE, (spare,)), compiled())
    with pytest.raises(MalformedError, match="exactly one signature"):
        verify_approval(seal(encode(said), APPROVAL_TYPE, (first, spare)), compiled())
