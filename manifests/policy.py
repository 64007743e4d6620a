"""The customer's policy: who decides what at a site. The vendor appears nowhere in it.

``policy.yaml`` (``PolicyFile``) is a proposal; compiled, with the people's public keys inside, it becomes ``Policy``,
which is identified by its digest and binds once the site's journal says so.
"""

import re
from collections.abc import Callable
from typing import Annotated, Literal

from msgspec import Meta

from manifests.canonical import parse
from manifests.digest import Name, Positive, Text
from manifests.document import Document
from manifests.errors import MalformedError
from manifests.handwritten import Handwritten
from manifests.keys import PublicKey
from manifests.rollback import Class

POLICY_TYPE = "application/vnd.waybill.policy.v1+json"
MAX_POLICY = 1 << 20

Kind = Literal[
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
KINDS: tuple[Kind, ...] = (
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
)
People = Annotated[int, Meta(ge=1, le=64)]
# How many people of which role; empty means nobody is asked.
Needs = Annotated[dict[Name, People], Meta(max_length=16)]
KeyPath = Annotated[str, Meta(min_length=1, max_length=512)]
Account = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,63}\Z")]
Severity = Literal["low", "medium", "high", "critical"]
_WINDOW = re.compile(
    r"(mon|tue|wed|thu|fri|sat|sun|daily) ([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9] UTC"
)


class PersonFile(Document, frozen=True, kw_only=True):
    role: Name
    keys: Annotated[tuple[KeyPath, ...], Meta(min_length=1, max_length=16)]
    accounts: Annotated[tuple[Account, ...], Meta(max_length=16)] = ()


class When(Document, frozen=True, kw_only=True):
    """What a change must be for an emergency rule to apply: all of these."""

    severity: Annotated[tuple[Severity, ...], Meta(min_length=1, max_length=4)]
    change: Literal["patch", "minor", "major"]
    rollback: Annotated[tuple[Class, ...], Meta(min_length=1, max_length=5)]


class Emergency(Document, frozen=True, kw_only=True):
    """A rule that was agreed beforehand; ``uses`` and ``until_installs`` are counted in the journal."""

    name: Name
    when: When
    never: Annotated[tuple[Kind, ...], Meta(max_length=16)] = ()
    needs: Needs
    uses: Positive
    until_installs: Positive


class Confirm(Document, frozen=True, kw_only=True):
    """Who ends a trial: the probes, or a person; ``or_person`` is the role that may in either case."""

    by: Literal["probes", "person"]
    or_person: Name | None = None


class Windows(Document, frozen=True, kw_only=True):
    """When installs are meant to happen; enforced only where the host's clock is trusted."""

    enforce: bool
    times: Annotated[tuple[Text, ...], Meta(max_length=32)] = ()


class Refuse(Document, frozen=True, kw_only=True):
    everyone_audience: bool = False
    unsigned_images: bool = False


class PolicyFile(Document, frozen=True, kw_only=True):
    """``policy.yaml``."""

    waybill: Literal[1]
    policy: Positive
    people: Annotated[dict[Name, PersonFile], Meta(min_length=1, max_length=256)]
    rules: dict[Kind, Needs | Literal["automatic"]]
    veto: Annotated[tuple[Name, ...], Meta(max_length=16)] = ()
    proposer_counts: bool
    emergency: Annotated[tuple[Emergency, ...], Meta(max_length=16)] = ()
    commands: Annotated[dict[Name, Literal["allowed"] | Needs], Meta(max_length=1024)] = {}
    confirm: Confirm
    time: Literal["warn", "enforce", "ignore"]
    windows: Windows
    refuse: Refuse = Refuse()


class Person(Document, frozen=True, kw_only=True):
    """One person with all of their keys; people are counted, not keys.

    Attributes:
        accounts: Their accounts at the site; who ran ``receive`` there is the proposer.
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
        proposer_counts: Whether who received a change is among its approvers.
        commands: Needs by handler; empty for ``allowed``. A handler that is not listed is refused.
    """

    number: Positive
    people: Annotated[dict[Name, Person], Meta(min_length=1, max_length=256)]
    rules: dict[Kind, Needs]
    veto: Annotated[tuple[Name, ...], Meta(max_length=16)] = ()
    proposer_counts: bool
    emergency: Annotated[tuple[Emergency, ...], Meta(max_length=16)] = ()
    commands: Annotated[dict[Name, Needs], Meta(max_length=1024)] = {}
    confirm: Confirm
    time: Literal["warn", "enforce", "ignore"]
    windows: Windows
    refuse: Refuse

    def person_of(self, keyid: str) -> tuple[str, Person] | None:
        """Whose key that is."""
        for name, person in self.people.items():
            if keyid in (key.keyid for key in person.keys):
                return name, person
        return None

    def key_of(self, keyid: str) -> PublicKey | None:
        found = self.person_of(keyid)
        return next((key for key in found[1].keys if key.keyid == keyid), None) if found else None


def parse_policy(data: bytes, what: str = "policy") -> Policy:
    """Read a compiled policy whose digest was checked. Raises MalformedError."""
    return parse(data, Policy, what, max_bytes=MAX_POLICY)


def compile_policy(file: Handwritten, read_key: Callable[[str], PublicKey]) -> Policy:
    """Check ``policy.yaml`` and put the keys in; ``read_key`` opens a path as written in it.

    Raises:
        MalformedError: With ``file:line``; also when a rule asks for more people than there are.
    """
    source = file.to(PolicyFile)
    people = {}
    for name, person in source.people.items():
        keys = tuple(read_key(path) for path in person.keys)
        people[name] = Person(role=person.role, keys=keys, accounts=person.accounts)
    _check_keys(file, people)
    for kind in KINDS:
        if kind not in source.rules:
            raise MalformedError(f"the rule {kind!r} is missing", where=file.at("$.rules"), remedy=f"add {kind}: …")
    rules = {kind: _rule(file, kind, source.rules[kind]) for kind in KINDS}
    commands = {name: {} if needs == "allowed" else needs for name, needs in source.commands.items()}
    _check_roles(file, source, rules, people)
    for i, times in enumerate(source.windows.times):
        if _WINDOW.fullmatch(times) is None:
            raise MalformedError(
                f"{times!r} is not a window",
                where=file.at(f"$.windows.times[{i}]"),
                remedy='write a day, two times and UTC: "sat 22:00-04:00 UTC"',
            )
    return Policy(
        number=source.policy,
        people=people,
        rules=rules,
        veto=source.veto,
        proposer_counts=source.proposer_counts,
        emergency=source.emergency,
        commands=commands,
        confirm=source.confirm,
        time=source.time,
        windows=source.windows,
        refuse=source.refuse,
    )


def _rule(file: Handwritten, kind: Kind, rule: dict[str, int] | Literal["automatic"]) -> dict[str, int]:
    if rule == "automatic":
        if kind != "export":
            raise MalformedError(
                f"{kind} cannot be automatic, only export can",
                where=file.at(f"$.rules.{kind}"),
                remedy=f"{kind}: {{operator: 1}}",
            )
        return {}
    if not rule:
        raise MalformedError("a rule asks somebody", where=file.at(f"$.rules.{kind}"), remedy="{operator: 1}")
    return rule


def _check_keys(file: Handwritten, people: dict[str, Person]) -> None:
    """One key is one person's, or one person could be counted twice."""
    owners: dict[str, str] = {}
    for name, person in people.items():
        for key in person.keys:
            if key.keyid in owners:
                raise MalformedError(
                    f"key {key.keyid[:12]} is listed for {owners[key.keyid]} and again for {name}",
                    where=file.at(f"$.people.{name}.keys"),
                    remedy="each person has keys of their own, each listed once",
                )
            owners[key.keyid] = name


def _check_roles(
    file: Handwritten, source: PolicyFile, rules: dict[Kind, dict[str, int]], people: dict[str, Person]
) -> None:
    """No rule may ask for a quorum that cannot be met."""
    count: dict[str, int] = {}
    for person in people.values():
        count[person.role] = count.get(person.role, 0) + 1
    asked: list[tuple[str, dict[str, int]]] = [(f"$.rules.{kind}", needs) for kind, needs in rules.items()]
    asked += [(f"$.emergency[{i}].needs", one.needs) for i, one in enumerate(source.emergency)]
    asked += [(f"$.commands.{name}", needs) for name, needs in source.commands.items() if needs != "allowed"]
    for path, needs in asked:
        for role, wanted in needs.items():
            if count.get(role, 0) < wanted:
                raise MalformedError(
                    f"asks for {wanted} of role {role}, {count.get(role, 0)} are listed under people",
                    where=file.at(path),
                    remedy="a quorum that cannot be met would lock the site: list more people, or ask for fewer",
                )
    named = [("$.veto", role) for role in source.veto]
    named += [("$.confirm.or_person", source.confirm.or_person)] if source.confirm.or_person else []
    for path, role in named:
        if role not in count:
            raise MalformedError(f"nobody has the role {role}", where=file.at(path), remedy="name a role of people")
