"""The compiled policy of a site: the customer's rules about who approves what."""

from typing import Annotated, Literal, get_args

from msgspec import Meta

from manifests.documents.rollback import Class
from manifests.trust.keys import PublicKey
from manifests.words.canonical import Document, parse
from manifests.words.digest import Name, Positive, Text

POLICY_TYPE = "application/vnd.waybill.policy.v1+json"
MAX_POLICY = 1 << 20

ChangeRule = Literal[
    "patch",
    "minor",
    "major",
    "config",
    "config-schema",
    "channel",
    "contract",
    "handlers",
    "irreversible",
    "rollback",
    "below-floor",
    "export",
    "policy",
    "offboard",
]
KINDS: tuple[ChangeRule, ...] = get_args(ChangeRule)
People = Annotated[int, Meta(ge=1, le=64)]
# How many people of which role; empty means nobody is asked.
RoleNeeds = Annotated[dict[Name, People], Meta(max_length=16)]

Account = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,63}\Z")]
Severity = Literal["low", "medium", "high", "critical"]


class When(Document, frozen=True, kw_only=True):
    """What a change must be for an emergency rule to apply: all of these."""

    severity: Annotated[tuple[Severity, ...], Meta(min_length=1, max_length=4)]
    change: Literal["patch", "minor", "major"]
    rollback: Annotated[tuple[Class, ...], Meta(min_length=1, max_length=5)]


class Emergency(Document, frozen=True, kw_only=True):
    """A rule that the policy holds for emergencies; ``uses`` and ``until_installs`` are counted in the journal."""

    name: Name
    when: When
    never: Annotated[tuple[ChangeRule, ...], Meta(max_length=16)] = ()
    needs: RoleNeeds
    uses: Positive
    until_installs: Positive


class ConfirmRule(Document, frozen=True, kw_only=True):
    """Whether probes or a person end a trial; role ``or_person`` may in either case."""

    by: Literal["probes", "person"]
    or_person: Name | None = None


class Windows(Document, frozen=True, kw_only=True):
    """When installs are meant to happen; enforced only where the host's clock is trusted."""

    enforce: bool
    times: Annotated[tuple[Text, ...], Meta(max_length=32)] = ()


class RefusedReleases(Document, frozen=True, kw_only=True):
    everyone_audience: bool = False
    unsigned_images: bool = False


class Person(Document, frozen=True, kw_only=True):
    """One person with all of their keys; people are counted, not keys.

    Whoever ran ``receive`` under one of ``accounts`` is the proposer.
    """

    role: Name
    keys: Annotated[tuple[PublicKey, ...], Meta(min_length=1, max_length=16)]
    accounts: Annotated[tuple[Account, ...], Meta(max_length=16)] = ()


class Policy(Document, frozen=True, kw_only=True, tag_field="type", tag=POLICY_TYPE):
    """The compiled policy.

    Attributes:
        number: Grows by one with each policy.
        rules: For every kind of change, how many people of which roles; empty for ``automatic``.
        veto: Roles of which one rejection ends an item.
        proposer_counts: Whether the person who received a change is among its approvers.
        commands: Needs by handler; empty for ``allowed``. A handler that is not listed is refused.
    """

    number: Positive
    people: Annotated[dict[Name, Person], Meta(min_length=1, max_length=256)]
    rules: dict[ChangeRule, RoleNeeds]
    veto: Annotated[tuple[Name, ...], Meta(max_length=16)] = ()
    proposer_counts: bool
    emergency: Annotated[tuple[Emergency, ...], Meta(max_length=16)] = ()
    commands: Annotated[dict[Name, RoleNeeds], Meta(max_length=1024)] = {}
    confirm: ConfirmRule
    time: Literal["warn", "enforce", "ignore"]
    windows: Windows
    refuse: RefusedReleases

    def person_of(self, keyid: str) -> tuple[str, Person] | None:
        """Return name and entry of the person who has this key, None for nobody."""
        for name, person in self.people.items():
            if keyid in (key.keyid for key in person.keys):
                return name, person
        return None

    def key_of(self, keyid: str) -> PublicKey | None:
        listed = self.person_of(keyid)
        return next((key for key in listed[1].keys if key.keyid == keyid), None) if listed else None


def parse_policy(data: bytes, what: str = "policy") -> Policy:
    """Read a compiled policy whose digest was checked. Raises MalformedError."""
    return parse(data, Policy, what, max_bytes=MAX_POLICY)
