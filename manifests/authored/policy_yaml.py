"""Compile ``policy.yaml`` to a policy, with the public keys of its people inside."""

import re
from collections.abc import Callable
from typing import Annotated, Literal

from msgspec import Meta

from manifests.authored.handwritten import Handwritten, compiled
from manifests.documents.policy import (
    KINDS,
    Account,
    ChangeRule,
    ConfirmRule,
    Emergency,
    Person,
    Policy,
    RefusedReleases,
    RoleNeeds,
    Windows,
)
from manifests.trust.keys import PublicKey
from manifests.words.canonical import Document
from manifests.words.digest import Name, Positive

KeyPath = Annotated[str, Meta(min_length=1, max_length=512)]

_WINDOW = re.compile(
    r"(mon|tue|wed|thu|fri|sat|sun|daily) ([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9] UTC"
)


class PersonFile(Document, frozen=True, kw_only=True):
    role: Name
    keys: Annotated[tuple[KeyPath, ...], Meta(min_length=1, max_length=16)]
    accounts: Annotated[tuple[Account, ...], Meta(max_length=16)] = ()


class PolicyFile(Document, frozen=True, kw_only=True):
    """``policy.yaml``."""

    waybill: Literal[1]
    policy: Positive
    people: Annotated[dict[Name, PersonFile], Meta(min_length=1, max_length=256)]
    rules: dict[ChangeRule, RoleNeeds | Literal["automatic"]]
    veto: Annotated[tuple[Name, ...], Meta(max_length=16)] = ()
    proposer_counts: bool
    emergency: Annotated[tuple[Emergency, ...], Meta(max_length=16)] = ()
    commands: Annotated[dict[Name, Literal["allowed"] | RoleNeeds], Meta(max_length=1024)] = {}
    confirm: ConfirmRule
    time: Literal["warn", "enforce", "ignore"]
    windows: Windows
    refuse: RefusedReleases = RefusedReleases()


def compile_policy(file: Handwritten, read_key: Callable[[str], PublicKey]) -> Policy:
    """Check ``policy.yaml`` and put the keys in; ``read_key`` opens a path as written in it.

    Raises:
        MalformedError: With ``file:line``; also when a rule asks for more people than are listed.
    """
    source = file.to(PolicyFile)
    people = {}
    for name, person in source.people.items():
        keys = tuple(read_key(path) for path in person.keys)
        people[name] = Person(role=person.role, keys=keys, accounts=person.accounts)
    _check_keys(file, people)
    for kind in KINDS:
        if kind not in source.rules:
            raise file.wrong(f"the rule {kind!r} is missing", "$.rules", f"add {kind}: …")
    rules = {kind: _rule(file, kind, source.rules[kind]) for kind in KINDS}
    commands = {name: {} if needs == "allowed" else needs for name, needs in source.commands.items()}
    _check_roles(file, source, rules, people)
    for i, times in enumerate(source.windows.times):
        if _WINDOW.fullmatch(times) is None:
            problem = f"{times!r} is not a window"
            raise file.wrong(problem, f"$.windows.times[{i}]", 'write a day, two times and UTC: "sat 22:00-04:00 UTC"')
    return compiled(Policy, source, number=source.policy, people=people, rules=rules, commands=commands)


def _rule(file: Handwritten, kind: ChangeRule, rule: dict[str, int] | Literal["automatic"]) -> dict[str, int]:
    if rule == "automatic":
        if kind != "export":
            problem = f"{kind} cannot be automatic, only export can"
            raise file.wrong(problem, f"$.rules.{kind}", f"{kind}: {{operator: 1}}")
        return {}
    if not rule:
        raise file.wrong("the rule names no role", f"$.rules.{kind}", f"{kind}: {{operator: 1}}")
    return rule


def _check_keys(file: Handwritten, people: dict[str, Person]) -> None:
    """One key is one person's, or one person could be counted twice."""
    owners: dict[str, str] = {}
    for name, person in people.items():
        for key in person.keys:
            if key.keyid in owners:
                raise file.wrong(
                    f"key {key.keyid[:12]} is listed for {owners[key.keyid]} and again for {name}",
                    f"$.people.{name}.keys",
                    "each person has keys of their own, each listed once",
                )
            owners[key.keyid] = name


def _check_roles(
    file: Handwritten, source: PolicyFile, rules: dict[ChangeRule, dict[str, int]], people: dict[str, Person]
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
                raise file.wrong(
                    f"asks for {wanted} of role {role}, {count.get(role, 0)} are listed under people",
                    path,
                    "a quorum that cannot be met would lock the site: list more people, or ask for fewer",
                )
    named = [("$.veto", role) for role in source.veto]
    named += [("$.confirm.or_person", source.confirm.or_person)] if source.confirm.or_person else []
    for path, role in named:
        if role not in count:
            raise file.wrong(f"nobody has the role {role}", path, "name a role of people")
