"""Compile ``policy.yaml`` to a policy, with the public keys of its people inside."""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Annotated, Literal

from msgspec import Meta

from manifests.authored.handwritten import Faults, Handwritten, compiled
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
from manifests.words.errors import MalformedError, WaybillError

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
    faults = Faults()
    policy = _compile(file, read_key, faults)
    faults.require_none()
    return policy


def policy_problems(file: Handwritten, read_key: Callable[[str], PublicKey]) -> Sequence[WaybillError]:
    """Return everything that is wrong in ``policy.yaml`` and in the keys that it names."""
    faults = Faults()
    _compile(file, read_key, faults)
    return faults.problems


def _compile(file: Handwritten, read_key: Callable[[str], PublicKey], faults: Faults) -> Policy:
    """Return the policy; with faults, without the keys and rules that have them."""
    source = file.to(PolicyFile)
    people = {}
    for name, person in source.people.items():
        keys = tuple(key for path in person.keys if (key := faults.attempt(partial(read_key, path))) is not None)
        people[name] = Person(role=person.role, keys=keys, accounts=person.accounts)
    faults.collect(_key_problems(file, people))
    rules: dict[ChangeRule, dict[str, int]] = {}
    for kind in KINDS:
        if kind not in source.rules:
            faults.collect([file.wrong(f"the rule {kind!r} is missing", "$.rules", f"add {kind}: …")])
        else:
            rules[kind] = faults.attempt(partial(_rule, file, kind, source.rules[kind])) or {}
    commands = {name: {} if needs == "allowed" else needs for name, needs in source.commands.items()}
    faults.collect(_role_problems(file, source, rules, people))
    for i, times in enumerate(source.windows.times):
        if _WINDOW.fullmatch(times) is None:
            problem, remedy = f"{times!r} is not a window", 'write a day, two times and UTC: "sat 22:00-04:00 UTC"'
            faults.collect([file.wrong(problem, f"$.windows.times[{i}]", remedy)])
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


def _key_problems(file: Handwritten, people: dict[str, Person]) -> Iterator[MalformedError]:
    """One key is one person's, or one person could be counted twice."""
    owners: dict[str, str] = {}
    for name, person in people.items():
        for key in person.keys:
            if key.keyid in owners:
                yield file.wrong(
                    f"key {key.keyid[:12]} is listed for {owners[key.keyid]} and again for {name}",
                    f"$.people.{name}.keys",
                    "each person has keys of their own, each listed once",
                )
            owners[key.keyid] = name


def _role_problems(
    file: Handwritten, source: PolicyFile, rules: dict[ChangeRule, dict[str, int]], people: dict[str, Person]
) -> Iterator[MalformedError]:
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
                yield file.wrong(
                    f"asks for {wanted} of role {role}, {count.get(role, 0)} are listed under people",
                    path,
                    "a quorum that cannot be met would lock the site: list more people, or ask for fewer",
                )
    named = [("$.veto", role) for role in source.veto]
    named += [("$.confirm.or_person", source.confirm.or_person)] if source.confirm.or_person else []
    for path, role in named:
        if role not in count:
            yield file.wrong(f"nobody has the role {role}", path, "name a role of people")
