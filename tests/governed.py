"""A site whose policy has several people and every rule: the ground that the tests of policies stand on."""

from pathlib import Path

from manifests.authored.handwritten import read_handwritten
from manifests.authored.policy_yaml import compile_policy
from manifests.documents.policy import KINDS, Policy
from manifests.trust.keys import read_public
from manifests.trust.private_keys import generate_key
from tests.place import Place

PEOPLE = {"ops-1": "operator", "ops-2": "operator", "sec-1": "security", "dpo-1": "privacy"}
RULES = {
    "minor": "{operator: 1, security: 1}",
    "major": "{operator: 2, security: 1}",
    "channel": "{operator: 1, security: 1}",
    "contract": "{security: 1, privacy: 1}",
    "policy": "{operator: 1, security: 1}",
    "offboard": "{operator: 1, security: 1}",
    "irreversible": "{operator: 2}",
}
TAIL = """\
veto: [security]
proposer_counts: true
confirm: {by: probes, or_person: operator}
time: warn
windows: {enforce: false}
"""
EMERGENCY = """\
emergency:
  - name: critical-fix
    when: {severity: [critical], change: minor, rollback: [stateless]}
    never: [contract, handlers]
    needs: {operator: 1}
    uses: 2
    until_installs: 20
"""


def policy_text(
    number: int, *, people: dict[str, str] | None = None, rules: dict[str, str] | None = None, tail: str = TAIL
) -> str:
    listed = "".join(
        f"  {name}: {{role: {role}, keys: [people/{name}.pub]}}\n"
        for name, role in (PEOPLE if people is None else people).items()
    )
    said = dict.fromkeys(KINDS, "{operator: 1}") | RULES | (rules or {})
    lines = "".join(f"  {kind}: {rule}\n" for kind, rule in said.items())
    return f"waybill: 1\npolicy: {number}\npeople:\n{listed}rules:\n{lines}{tail}"


def write_policy(place: Place, text: str) -> Policy:
    """Put ``text`` into the site's folder, with keys for people who have none yet; what it compiles to."""
    for name in (*PEOPLE, "ops-3"):
        place.people.setdefault(name, generate_key())
        pub = place.path / "people" / f"{name}.pub"
        pub.write_text(place.people[name].public.pem)
    path = place.path / "policy.yaml"
    path.write_text(text)
    return compile_policy(read_handwritten(path), lambda name: read_public(place.path / Path(name)))


def govern(place: Place, text: str | None = None) -> Place:
    """Policy 2 in force, with the people of ``PEOPLE``."""
    place.put_policy(write_policy(place, text or policy_text(2)))
    return place


def agree(place: Place, item: str, *people: str) -> None:
    for person in people or ("ops-1", "ops-2", "sec-1", "dpo-1"):
        place.approve(item, person)
