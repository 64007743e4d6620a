"""The rollback document at work: every decision by table and by play, every hand on real processes and real files."""

import errno
import gzip
import hashlib
import itertools
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from dataclasses import replace as replace_data
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from manifests.authored.site_yaml import DriversFile, ProgramDriverFile, SiteFile
from manifests.documents.backup_proof import BackupProof
from manifests.documents.release import InstallStep, Program, Release
from manifests.documents.rollback import Backup, Formats, Rollback, StateFormats, Step
from manifests.words.canonical import encode
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import DamagedError, HostError, RefusedError, WaybillError
from tests.faults.model import FailingDisk, PluggedDisk, PulledPlugError, RecordingDisk
from tests.vendor import Vendor
from verifier.change.rollback_script import StepSituation, after_crash, next_part, rollback_action
from verifier.change.space import backup_space
from verifier.runtime import migrations
from verifier.runtime.drivers.driver import ABSENT, DriverContext
from verifier.runtime.drivers.program import ProgramDriver
from verifier.runtime.migrations import (
    MAX_TRIES,
    MigrationContext,
    apply_step,
    check_migration_context,
    discard_backups,
    make_backup,
    migration_context,
    run_part,
)
from verifier.runtime.program_files import ProgramAccount, find_account, this_platform
from verifier.runtime.sandbox import check_sandbox
from verifier.runtime.saved_data import SavedFolder, backup_problem, data_folder
from verifier.site.disk import Disk
from verifier.site.generations import Installed
from verifier.site.journal.events import PartAct
from verifier.site.journal.installs import PartRecord, RetryRequested
from verifier.site.journal.transitions import (
    Apply,
    BackupRecord,
    Blocked,
    GoBack,
    MakeBackup,
    NextPart,
    PartStatus,
    Restore,
    Settled,
    TryRestore,
    Undo,
    UndoMethod,
)

ROOT = os.geteuid() == 0
RULES = ("repeat", "undo", "restore", "stop")
RECOVERY = {"rolled-back": ("Nothing to do.",), "inconsistent": ("Call somebody.",)}


def step(
    name: str = "widen",
    rule: str = "repeat",
    *,
    undo: bool = True,
    repeatable: bool = True,
    touches: tuple[str, ...] = ("database",),
) -> Step:
    return Step(
        name=name,
        touches=touches,
        do=("admin", "migrate", "7"),
        undo=("admin", "migrate", "6") if undo else None,
        check=("admin", "schema-is", "7"),
        repeatable=repeatable,
        after_crash=rule,  # type: ignore[arg-type]  # one of the four words
        takes_seconds=1,
    )


def backup(name: str = "database", at_most: int = 1 << 20, proves: Literal["rows", "digest"] | None = None) -> Backup:
    return Backup(
        name=name,
        proves=proves,
        make=("admin", "dump"),
        restore=("admin", "load"),
        try_=("admin", "load", "--scratch"),
        at_most_bytes=at_most,
        takes_seconds=1,
    )


def document(
    *parts: Step, backups: tuple[Backup, ...] = (), class_: str = "restore-only", no_return: str = "none"
) -> Rollback:
    names = sorted({name for one in parts for name in one.touches} | {one.name for one in backups})
    formats = Formats(reads=(6, 7), writes=6)
    return Rollback(
        class_=class_,  # type: ignore[arg-type]  # one of the five words
        offered_for_seconds=86400,
        state=tuple(StateFormats(name=name, before=formats, after=formats) for name in names),
        backup=backups,
        steps=parts,
        no_return=no_return,
        loses="nothing",
        recovery=RECOVERY,  # type: ignore[arg-type]  # literal keys of a plain dict
    )


def begun(act: PartAct, name: str) -> PartRecord:
    return PartRecord(act, name, "begun")


def done(act: PartAct, name: str) -> tuple[PartRecord, PartRecord]:
    digest = digest_of(name.encode()) if act == "backup" else ""
    return begun(act, name), PartRecord(act, name, "done", digest, len(name) if digest else 0)


def failed(act: PartAct, name: str) -> tuple[PartRecord, PartRecord]:
    return begun(act, name), PartRecord(act, name, "failed")


SAVED = (*done("backup", "database"), *done("try", "database"))


# --- the table ----------------------------------------------------------------------------------------------------

# What a step's half state means, on the way back: rule, status, has undo, covered by a backup -> the way.
HALF: dict[tuple[str, str, bool, bool], UndoMethod] = {
    ("repeat", "cut", True, True): "undo",
    ("repeat", "cut", True, False): "undo",
    ("repeat", "cut", False, True): "restore",
    ("repeat", "cut", False, False): "stop",
    ("undo", "cut", True, True): "undo",
    ("undo", "cut", True, False): "undo",
    ("undo", "cut", False, True): "restore",
    ("undo", "cut", False, False): "stop",
    ("restore", "cut", True, True): "restore",
    ("restore", "cut", True, False): "stop",
    ("restore", "cut", False, True): "restore",
    ("restore", "cut", False, False): "stop",
    ("stop", "cut", True, True): "stop",
    ("stop", "cut", True, False): "stop",
    ("stop", "cut", False, True): "stop",
    ("stop", "cut", False, False): "stop",
    ("repeat", "undo-cut", True, True): "undo",
    ("repeat", "undo-cut", True, False): "undo",
    ("undo", "undo-cut", True, True): "undo",
    ("undo", "undo-cut", True, False): "undo",
    ("restore", "undo-cut", True, True): "restore",
    ("restore", "undo-cut", True, False): "stop",
    ("stop", "undo-cut", True, True): "stop",
    ("stop", "undo-cut", True, False): "stop",
    ("repeat", "undo-failed", True, True): "restore",
    ("repeat", "undo-failed", True, False): "stop",
    ("undo", "undo-failed", True, True): "restore",
    ("undo", "undo-failed", True, False): "stop",
    ("restore", "undo-failed", True, True): "restore",
    ("restore", "undo-failed", True, False): "stop",
    ("stop", "undo-failed", True, True): "restore",
    ("stop", "undo-failed", True, False): "stop",
    ("repeat", "done", True, True): "undo",
    ("repeat", "done", True, False): "undo",
    ("repeat", "done", False, True): "restore",
    ("repeat", "done", False, False): "stop",
}


@pytest.mark.parametrize("row", HALF, ids=lambda row: "-".join(str(one) for one in row))
def test_the_way_back_of_one_step(row: tuple[str, str, bool, bool]) -> None:
    rule, status, undo, covered = row
    situation = StepSituation(covered=covered, beyond=False, compatible=False, tries=1)
    found = rollback_action(
        step(rule=rule, undo=undo),
        PartStatus(status),
        situation,
    )
    assert found == HALF[row]
    if status == "cut":
        # A step that failed by itself is as half done as one that was cut off.
        half = rollback_action(
            step(rule=rule, undo=undo),
            PartStatus.FAILED,
            situation,
        )
        assert half == HALF[row]
    if status == "done":
        for other in RULES:
            same = rollback_action(
                step(rule=other, undo=undo),
                PartStatus.DONE,
                situation,
            )
            assert same == HALF[row], "a rule for crashes says nothing about a step that was done"


def test_laws_of_the_way_back() -> None:
    """All of it, row by row."""
    bools = (False, True)
    half = (PartStatus.CUT, PartStatus.FAILED, PartStatus.UNDO_CUT)
    count = 0
    for status, rule, flags, tries in itertools.product(
        (PartStatus.CUT, PartStatus.FAILED, PartStatus.DONE, PartStatus.UNDO_CUT, PartStatus.UNDO_FAILED),
        RULES,
        itertools.product(bools, repeat=7),
        (1, MAX_TRIES),
    ):
        undo, covered, beyond, compatible, repeatable, said, fresh = flags
        undoing = status in (PartStatus.UNDO_CUT, PartStatus.UNDO_FAILED)
        if undoing and (beyond or not undo):
            continue
        count += 1
        way = rollback_action(
            step(rule=rule, undo=undo, repeatable=repeatable),
            status,
            StepSituation(
                covered=covered, beyond=beyond, compatible=compatible, tries=tries, retried=said, fresh=fresh
            ),
        )
        if way == "undo":
            assert undo
            assert not beyond
            assert rule != "restore" or status in (PartStatus.DONE, PartStatus.UNDO_FAILED)
        if way == "restore":
            assert covered
        if way == "repeat":
            assert (rule, repeatable, status, compatible) == ("repeat", True, PartStatus.CUT, True)
            assert tries < MAX_TRIES
        if way == "keep":
            assert (compatible and status == PartStatus.DONE) or said or fresh
        if way == "stop":
            assert not said
            assert not covered or (rule == "stop" and status in half)
        if rule == "stop" and status in half and not said:
            assert way == "stop"
        if status == PartStatus.UNDO_CUT and tries >= MAX_TRIES:
            assert way != "undo"
        if status == PartStatus.UNDO_FAILED and not said:
            assert way != "undo"
    assert count == 3 * 4 * 2**7 * 2 + 2 * 4 * 2**5 * 2 == 3584


@pytest.mark.parametrize(
    ("rule", "repeatable", "tries", "kind"),
    [
        ("repeat", True, 1, Apply),
        ("repeat", True, MAX_TRIES - 1, Apply),
        ("repeat", True, MAX_TRIES, GoBack),
        ("repeat", False, 1, GoBack),
        ("undo", True, 1, GoBack),
        ("undo", False, 1, GoBack),
        ("restore", True, 1, GoBack),
        ("restore", False, 1, GoBack),
        ("stop", True, 1, Blocked),
        ("stop", False, 1, Blocked),
    ],
)
def test_a_crash_on_the_way_forward(rule: str, repeatable: bool, tries: int, kind: type) -> None:
    assert type(after_crash(step(rule=rule, repeatable=repeatable), tries)) is kind


# --- the order of things ------------------------------------------------------------------------------------------


def ask(doc: Rollback, *records: PartRecord | RetryRequested, back: bool = False, fresh: bool = False) -> NextPart:
    return next_part(doc, records, back=back, fresh=fresh)


def test_forward_in_order() -> None:
    one, two = step("one"), step("two")
    first, second = backup("database"), backup("files")
    doc = document(one, two, backups=(first, second))
    records: list[PartRecord] = []
    made = BackupRecord("database", digest_of(b"database"), 8)
    assert ask(doc) == MakeBackup(first)
    records += done("backup", "database")
    assert ask(doc, *records) == TryRestore(first, made)
    records += done("try", "database")
    assert ask(doc, *records) == MakeBackup(second)
    records += [*done("backup", "files"), *done("try", "files")]
    assert ask(doc, *records) == Apply(one)
    records += done("migrate", "one")
    assert ask(doc, *records) == Apply(two)
    records += done("migrate", "two")
    assert ask(doc, *records) == Settled()
    assert ask(doc, *records, back=True) == Undo(two)
    records += done("undo", "two")
    assert ask(doc, *records, back=True) == Undo(one)
    records += done("undo", "one")
    assert ask(doc, *records, back=True) == Settled()


def test_a_first_install_has_nothing_to_back_up() -> None:
    doc = document(step(), backups=(backup(),))
    assert ask(doc, fresh=True) == Apply(step())
    assert ask(doc, *done("migrate", "widen"), fresh=True) == Settled()


def test_a_first_install_never_stops_over_data_that_were_not_there_before() -> None:
    doc = document(step(undo=False), backups=(backup(),))
    assert ask(doc, *failed("migrate", "widen"), back=True, fresh=True) == Settled()
    assert isinstance(ask(doc, *failed("migrate", "widen"), back=True), Blocked)


def test_backups_are_never_made_again_once_a_step_has_begun() -> None:
    doc = document(step(), backups=(backup(),))
    assert ask(doc, *SAVED, begun("migrate", "widen")) == Apply(step())
    # Even where the journal does not show one.
    assert ask(doc, begun("migrate", "widen")) == Apply(step())
    # Before that they are: a file that was not finished, or not proven, is worth nothing.
    assert ask(doc, begun("backup", "database")) == MakeBackup(backup())
    assert isinstance(ask(doc, *done("backup", "database"), begun("try", "database")), TryRestore)
    assert ask(doc, *SAVED, begun("backup", "database")) == MakeBackup(backup())


def test_what_failed_turns_back_and_is_named() -> None:
    doc = document(step(), backups=(backup(),))
    for records, code in (
        (failed("backup", "database"), "backup-failed"),
        ((*done("backup", "database"), *failed("try", "database")), "try-failed"),
        ((*SAVED, *failed("migrate", "widen")), "step-failed"),
        (tuple([begun("backup", "database")] * MAX_TRIES), "backup-interrupted"),
        ((*SAVED, *done("migrate", "widen"), begun("undo", "widen")), "step-undone"),
        ((*SAVED, *done("restore", "database")), "restored"),
    ):
        found = ask(doc, *records)
        assert isinstance(found, GoBack), code
        assert found.code == code


def test_no_return() -> None:
    one, two = step("one"), step("two")
    doc = document(one, two, backups=(backup(),), no_return="one")
    made = BackupRecord("database", digest_of(b"database"), 8)
    assert ask(doc, *SAVED, begun("migrate", "one"), back=True) == Undo(one)
    for more in (done("migrate", "one"), (*done("migrate", "one"), *failed("migrate", "two"))):
        assert ask(doc, *SAVED, *more, back=True) == Restore(backup(), made)
    bare = document(one, two, no_return="one", class_="irreversible")
    assert isinstance(ask(bare, *done("migrate", "one"), back=True), Blocked)


def test_a_step_that_shares_data_with_a_restored_one_is_restored_with_it() -> None:
    both = ("database", "files")
    one, two = step("one", touches=("files",)), step("two", "restore", touches=both)
    apart = step("apart", touches=("elsewhere",))
    doc = document(one, apart, two, backups=(backup("database"), backup("files")))
    records: list[PartRecord] = [*SAVED, *done("backup", "files"), *done("try", "files")]
    records += [*done("migrate", "one"), *done("migrate", "apart"), begun("migrate", "two")]
    assert ask(doc, *records, back=True) == Undo(apart), "what shares nothing is undone, and first"
    records += done("undo", "apart")
    names = []
    while not isinstance(part := ask(doc, *records, back=True), Settled):
        assert isinstance(part, Restore)
        names.append(part.backup.name)
        records += done("restore", part.backup.name)
    assert names == ["database", "files"]


def test_half_of_a_restore_is_not_enough() -> None:
    one, two = step("one", touches=("files",)), step("two", "restore", touches=("database", "files"))
    doc = document(one, two, backups=(backup("database"),))
    found = ask(doc, *SAVED, *done("migrate", "one"), begun("migrate", "two"), back=True)
    assert isinstance(found, Blocked), "the files are in no backup, so nothing is touched"


def test_a_restore_that_was_cut_off_is_always_done_again() -> None:
    doc = document(step(rule="restore"), backups=(backup(),))
    made = BackupRecord("database", digest_of(b"database"), 8)
    records: tuple[PartRecord, ...] = (*SAVED, begun("migrate", "widen"), begun("restore", "database"))
    assert ask(doc, *records, back=True) == Restore(backup(), made)
    found = ask(doc, *records, *[begun("restore", "database")] * (MAX_TRIES - 1), back=True)
    assert (type(found), getattr(found, "code", "")) == (Blocked, "restore-interrupted")
    found = ask(doc, *records, PartRecord("restore", "database", "failed"), back=True)
    assert (type(found), getattr(found, "code", "")) == (Blocked, "restore-failed")
    # Data that were half restored are never left for an undo.
    undone = document(step(), backups=(backup(),))
    assert ask(undone, *SAVED, *done("migrate", "widen"), begun("restore", "database"), back=True) == Restore(
        backup(), made
    )


def test_an_undo_that_failed_falls_back_to_the_backup() -> None:
    doc = document(step(), backups=(backup(),))
    records = (*SAVED, *done("migrate", "widen"), *failed("undo", "widen"))
    assert isinstance(ask(doc, *records, back=True), Restore)
    bare = document(step(), class_="reversible")
    assert isinstance(ask(bare, *done("migrate", "widen"), *failed("undo", "widen"), back=True), Blocked)


def test_a_person_who_asks_again_is_a_way_out() -> None:
    bare = document(step(), class_="reversible")
    records = (*done("migrate", "widen"), *failed("undo", "widen"), RetryRequested())
    assert ask(bare, *records, back=True) == Undo(step())
    assert isinstance(ask(bare, *records, *failed("undo", "widen"), back=True), Blocked), "one more try, not for ever"
    stop = document(step(rule="stop"), class_="reversible")
    assert isinstance(ask(stop, begun("migrate", "widen"), back=True), Blocked)
    assert ask(stop, begun("migrate", "widen"), RetryRequested(), back=True) == Settled(), "they have seen to the data"
    saved = document(step(rule="stop"), backups=(backup(),))
    assert isinstance(ask(saved, *SAVED, begun("migrate", "widen"), RetryRequested(), back=True), Restore)
    deeds2 = (*SAVED, begun("migrate", "widen"), *failed("restore", "database"))
    assert isinstance(ask(saved, *deeds2, back=True), Blocked)
    assert isinstance(ask(saved, *deeds2, RetryRequested(), back=True), Restore)


def test_a_compatible_step_may_stay() -> None:
    doc = document(step(undo=False), class_="compatible")
    assert ask(doc, *done("migrate", "widen"), back=True) == Settled()
    assert ask(doc, begun("migrate", "widen"), back=True) == Apply(step(undo=False)), "whole, so that it is compatible"
    assert isinstance(ask(doc, *failed("migrate", "widen"), back=True), Blocked)


def test_a_step_that_says_not_what_it_touches_touches_everything() -> None:
    one, two = step("one", touches=("database",)), step("two", "restore", touches=())
    doc = document(one, two, backups=(backup("database"),))
    assert isinstance(ask(doc, *SAVED, begun("migrate", "two"), back=True), Restore)
    more = document(step("one", touches=("files",)), two, backups=(backup("database"),))
    assert isinstance(ask(more, *SAVED, begun("migrate", "two"), back=True), Blocked)


# --- a play: the plug is pulled before, within and after every part -----------------------------------------------


@dataclass
class World:
    """What really happens to the data. Each kind knows which steps were done to it, and which one is half done.

    The promises of a document are taken at their word, and no further: whoever does a part in a state for which
    nobody has promised anything fails the test.
    """

    doc: Rollback
    fails: frozenset[tuple[str, str]]
    done: dict[str, list[str]] = field(default_factory=dict)
    half: dict[str, str] = field(default_factory=dict)
    saved: set[str] = field(default_factory=set)

    def begin(self, part: NextPart) -> tuple[PartAct, str]:
        match part:
            case MakeBackup(one):
                assert not any(self.done.values()), "a backup of data that were changed"
                assert not self.half
                return "backup", one.name
            case TryRestore(one, _):
                assert one.name in self.saved
                return "try", one.name
            case Restore(one, made):
                assert one.name in self.saved
                assert made.digest
                return "restore", one.name
            case Apply(one):
                self._check_do(one)
                return "migrate", one.name
            case Undo(one):
                self._check_undo(one)
                return "undo", one.name
        raise AssertionError(part)

    def _check_do(self, one: Step) -> None:
        for name in one.touches:
            assert self.half.get(name, one.name) == one.name, f"{one.name} on data that are half {self.half[name]}"
            assert one.repeatable or (one.name not in self.done.get(name, []) and name not in self.half)

    def _check_undo(self, one: Step) -> None:
        for name in one.touches:
            kept = self.done.get(name, [])
            assert self.half.get(name, one.name) == one.name, f"undo {one.name} on data half {self.half[name]}"
            if name in self.half or one.name not in kept:
                assert one.after_crash in ("undo", "repeat"), "nobody said that undo may meet a half-done step"
            else:
                assert kept[-1] == one.name, "undone out of order"

    def act(self, act: PartAct, name: str, *, whole: bool) -> None:
        names = next((one.touches for one in self.doc.steps if one.name == name), (name,))
        for kind in names:
            kept = self.done.setdefault(kind, [])
            if act in ("migrate", "undo"):
                self.half[kind] = name
                if whole:
                    del self.half[kind]
                    if act == "migrate" and name not in kept:
                        kept.append(name)
                    if act == "undo" and name in kept:
                        kept.remove(name)
            elif act == "restore":
                self.half[kind] = "restore"
                kept.clear()
                if whole:
                    del self.half[kind]
            elif act == "backup":
                (self.saved.add if whole else self.saved.discard)(kind)


def play(doc: Rollback, pulls: frozenset[int], fails: frozenset[tuple[str, str]]) -> tuple[str, World, int]:
    """How it ends, the data, and how many instants there were."""
    world, records, back, instant = World(doc, fails), list[PartRecord | RetryRequested](), False, 0

    def pulled() -> bool:
        nonlocal instant
        instant += 1
        return instant - 1 in pulls

    for _ in range(80):
        part = next_part(doc, tuple(records), back=back, fresh=False)
        match part:
            case Settled():
                return ("back" if back else "forward"), world, instant
            case Blocked():
                return "stop", world, instant
            case GoBack():
                assert not back
                back = True
                continue
        act, name = world.begin(part)
        records.append(begun(act, name))
        if pulled():
            continue
        if pulled():
            world.act(act, name, whole=False)
            continue
        if (act, name) in fails:
            world.act(act, name, whole=False)
            records.append(PartRecord(act, name, "failed"))
            continue
        world.act(act, name, whole=True)
        if pulled():
            continue
        records.append(PartRecord(act, name, "done", "sha256:" + "0" * 64 if act == "backup" else None, 1))
    raise AssertionError("it never ends")


def check_end(doc: Rollback, pulls: frozenset[int], fails: frozenset[tuple[str, str]]) -> tuple[str, int]:
    end, world, instants = play(doc, pulls, fails)
    everything = {name for one in doc.steps for name in one.touches}
    if end == "forward":
        assert not world.half
        for one in doc.steps:
            assert all(one.name in world.done[name] for name in one.touches)
    if end == "back":
        assert not world.half
        kept = {one.name for one in doc.steps if doc.class_ == "compatible" and one.undo is None}
        for name in everything:
            assert set(world.done.get(name, [])) <= kept, "neither the old data nor the new"
    if not pulls and not fails:
        assert end == "forward"
    covered = everything <= {one.name for one in doc.backup}
    if covered and all(one.after_crash != "stop" for one in doc.steps) and ("restore", "database") not in fails:
        assert end != "stop"
    if len(pulls) == 1 and not fails and all(one.after_crash == "repeat" and one.repeatable for one in doc.steps):
        assert end == "forward"
    return end, instants


KINDS = tuple(itertools.product(RULES, (True, False), (True, False)))


def documents(count: int) -> Iterator[Rollback]:
    for kinds in itertools.product(KINDS, repeat=count):
        made = [
            step(f"s{i}", rule, undo=undo, repeatable=repeatable) for i, (rule, undo, repeatable) in enumerate(kinds)
        ]
        for backups, class_ in itertools.product(((), (backup(),)), ("restore-only", "compatible")):
            yield document(*made, backups=backups, class_=class_)


def test_two_pulls_anywhere_in_one_step() -> None:
    ends: dict[str, int] = {}
    for doc in documents(1):
        for fails in (frozenset[tuple[str, str]](), frozenset({("migrate", "s0")}), frozenset({("undo", "s0")})):
            _, instants = check_end(doc, frozenset(), fails)
            for first, second in itertools.combinations_with_replacement(range(instants + 9), 2):
                end, _ = check_end(doc, frozenset({first, second}), fails)
                ends[end] = ends.get(end, 0) + 1
    assert set(ends) == {"forward", "back", "stop"}


def test_a_pull_anywhere_in_two_steps() -> None:
    ends: dict[str, int] = {}
    for doc in documents(2):
        for fails in (
            frozenset[tuple[str, str]](),
            frozenset({("migrate", "s1")}),
            frozenset({("migrate", "s1"), ("undo", "s0")}),
        ):
            _, instants = check_end(doc, frozenset(), fails)
            for pull in range(instants):
                end, _ = check_end(doc, frozenset({pull}), fails)
                ends[end] = ends.get(end, 0) + 1
    assert set(ends) == {"forward", "back", "stop"}


def test_two_kinds_of_data() -> None:
    both = ("database", "files")
    for rules in itertools.product(RULES, repeat=3):
        made = [
            step("a", rules[0], touches=("database",)),
            step("b", rules[1], touches=both, undo=False),
            step("c", rules[2], touches=("files",), repeatable=False),
        ]
        for backups in ((), (backup("files"),), (backup("database"), backup("files"))):
            doc = document(*made, backups=backups)
            for fails in (frozenset[tuple[str, str]](), frozenset({("migrate", "c")}), frozenset({("undo", "c")})):
                _, instants = check_end(doc, frozenset(), fails)
                for pull in range(instants + 6):
                    check_end(doc, frozenset({pull}), fails)


# --- hands --------------------------------------------------------------------------------------------------------

# A product's own program: its database is one file, its schema the first line of it.
ADMIN = r"""#!/bin/sh
set -e
db="$WAYBILL_DATA/app/db"
fate=$(cat "$WAYBILL_DATA/app/fate" 2>/dev/null || true)
# What it states is in files beside the database, so that a test can choose it.
if [ "$1" = dump ]; then stated=made; else stated=tried; fi
[ -z "$WAYBILL_PROOF" ] || [ ! -e "$WAYBILL_DATA/app/$stated" ] || cat "$WAYBILL_DATA/app/$stated" >"$WAYBILL_PROOF"
case "$1" in
dump) case "$fate" in
    fail) echo half; echo "no dump today" >&2; exit 3;;
    empty) exit 0;;
    small) echo 'BEGIN TRANSACTION; COMMIT;'; exit;;
    packed) exec gzip -9 <"$db";;
    endless) yes;;
    hang) exec sleep 600;;
    esac; cat "$db";;
load) if [ "$2" = --scratch ]; then
        head -n 1 | grep -q '^schema '; [ "$fate" != untried ]
      else cat >"$db.new"; mv "$db.new" "$db"; fi;;
migrate) { echo "schema $2"; tail -n +2 "$db"; } >"$db.new"; mv "$db.new" "$db"
    [ "$fate" != broken ]; echo "now $2";;
schema-is) [ "$fate" != unchecked ]; grep -qx "schema $2" "$db";;
*) exit 64;;
esac
"""


@pytest.fixture(scope="module")
def account() -> ProgramAccount:
    # An account of this process alone: how many processes it may have is counted over all that run as it.
    found = find_account(1_000_000 + os.getpid() if ROOT else os.geteuid(), ours=os.geteuid())
    try:
        check_sandbox(found)
    except RefusedError as error:
        pytest.skip(f"needs {error.finding}")
    return found


@dataclass
class Lab:
    ground: MigrationContext

    @property
    def app(self) -> Path:
        return self.ground.site / "data" / "app"

    @property
    def database(self) -> Path:
        return self.app / "db"

    def fate(self, word: str) -> None:
        (self.app / "fate").write_text(word)
        (self.app / "fate").chmod(0o644)

    def files(self) -> dict[str, bytes]:
        folder = self.ground.backups
        return {one.name: one.read_bytes() for one in folder.iterdir()} if folder.is_dir() else {}

    def with_disk(self, disk: Disk) -> MigrationContext:
        return replace_data(self.ground, disk=disk)


OLD = b"schema 6\n" + b"signature\n" * 1000


def programs(data: bytes = ADMIN.encode()) -> tuple[Program, ...]:
    blob = Blob(digest=digest_of(data), size=len(data))
    return (Program(name="admin", files={this_platform(): blob}),)


def release_with(**change: object) -> Release:
    return msgspec.structs.replace(Vendor().release()[0], programs=programs(), **change)


def put_blob(blobs: Path, data: bytes) -> Blob:
    blobs.mkdir(parents=True, exist_ok=True)
    (blobs / digest_of(data).removeprefix("sha256:")).write_bytes(data)
    return Blob(digest=digest_of(data), size=len(data))


@pytest.fixture
def lab(tmp_path: Path, account: ProgramAccount) -> Lab:
    site = tmp_path / "site"
    blobs = site / "store" / "blobs" / "sha256"
    put_blob(blobs, ADMIN.encode())
    ground = MigrationContext(
        disk=Disk(),
        site=site,
        generation=2,
        folder=site / "generations" / "2",
        backups=site / "backups" / "2",
        blobs=blobs,
        release=release_with(),
        config=b"{}",
        account=account,
        platform=this_platform(),
    )
    app = site / "data" / "app"
    app.mkdir(parents=True)
    (app / "db").write_bytes(OLD)
    if ROOT:
        for one in (app, app / "db"):
            os.chown(one, account.uid, account.gid)
        for folder in (app, *app.parents):
            if folder != Path("/"):
                folder.chmod(folder.stat().st_mode | 0o011)
    return Lab(ground)


def test_programs_get_the_data_folder_of_the_service_whose_data_they_name(lab: Lab) -> None:
    release = release_with(
        install=(
            InstallStep(step="ledger", driver="files", files=("service",), keep_running=("./run",)),
            InstallStep(step="pages", driver="files", files=("service",), keep_running=("./run",), data="texts"),
            InstallStep(step="images", driver="store", images=("api",)),
        )
    )
    data = lab.ground.site / "data"
    assert data_folder(lab.ground.site, release, ("ledger",)) == data / "ledger"
    assert data_folder(lab.ground.site, release, ("texts",)) == data / "texts"
    for names in (("ledger", "texts"), ("pages",), ("images",), ("database",), ()):
        assert data_folder(lab.ground.site, release, names) == data


def test_a_backup_reads_where_the_service_writes(lab: Lab, account: ProgramAccount) -> None:
    """The program is told the folder of its service, and its working folder is that folder."""
    script = b'#!/bin/sh\nset -e\n[ "$PWD" = "$WAYBILL_DATA" ]\ncat "$WAYBILL_DATA/db"\n'
    put_blob(lab.ground.blobs, script)
    service = InstallStep(step="app", driver="files", files=("service",), keep_running=("./run",))
    release = msgspec.structs.replace(release_with(install=(service,)), programs=programs(script))
    ground = replace_data(lab.ground, release=release)
    made = make_backup(ground, msgspec.structs.replace(backup(), name="app"))
    assert made == BackupRecord("app", digest_of(OLD), len(OLD), saved_bytes=len(OLD))


def test_the_whole_way_there_and_back(lab: Lab) -> None:
    ground, one, saved = lab.ground, step(), backup()
    made = make_backup(ground, saved)
    assert made == BackupRecord("database", digest_of(OLD), len(OLD), saved_bytes=len(OLD))
    assert lab.files() == {"database": OLD}
    assert stat.S_IMODE((ground.backups / "database").stat().st_mode) == 0o600
    assert stat.S_IMODE(ground.backups.stat().st_mode) == 0o700
    run_part(ground, TryRestore(saved, made))
    assert lab.database.read_bytes() == OLD
    assert apply_step(ground, one).output == b"now 7\n"
    assert lab.database.read_bytes() == OLD.replace(b"schema 6", b"schema 7")
    run_part(ground, Undo(one))
    assert lab.database.read_bytes() == OLD
    lab.database.write_bytes(b"rubbish")
    run_part(ground, Restore(saved, made))
    assert lab.database.read_bytes() == OLD
    assert hashlib.sha256((ground.folder / "programs" / "admin").read_bytes()).digest() == (
        hashlib.sha256(ADMIN.encode()).digest()
    )
    discard_backups(ground.disk, ground.backups)
    assert not ground.backups.exists()
    discard_backups(ground.disk, ground.backups)


@pytest.mark.parametrize(
    ("fate", "at_most", "finding", "words"),
    [
        ("fail", 1 << 20, "backup-failed", "ended with code 3: no dump today"),
        ("empty", 1 << 20, "backup-empty", "wrote nothing; data has 9.8 KiB"),
        ("small", 1 << 20, "backup-too-small", "wrote 27 B, less than 1/256 of what it saves; data has 9.8 KiB"),
        ("endless", 1 << 20, "backup-output-too-long", "wrote more than it may"),
        ("", len(OLD) - 1, "backup-output-too-long", "wrote more than it may"),
        ("hang", 1 << 20, "backup-timed-out", "was ended after"),
    ],
)
def test_a_backup_that_cannot_be_made_leaves_nothing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, fate: str, at_most: int, finding: str, words: str
) -> None:
    monkeypatch.setattr(migrations, "GRACE_SECONDS", 1)
    monkeypatch.setattr(migrations, "PATIENCE", 1)
    lab.fate(fate)
    with pytest.raises(HostError, match=words) as found:
        make_backup(lab.ground, backup(at_most=at_most))
    assert found.value.finding == finding
    assert lab.files() == {}
    assert lab.database.read_bytes() == OLD


def test_a_well_compressed_backup_is_no_backup_of_nothing(lab: Lab) -> None:
    """One line a thousand times: hardly any data are smaller when they are compressed."""
    lab.fate("packed")
    made = make_backup(lab.ground, backup())
    assert gzip.decompress(lab.files()["database"]) == OLD
    assert made.size < len(OLD) / 100


def state(lab: Lab, made: str | None, tried: str | None) -> None:
    """Let the program state this when it makes a backup, and that when it tries a restore; None for no statement."""
    for name, text in (("made", made), ("tried", tried)):
        if text is not None:
            (lab.app / name).write_text(text)
            (lab.app / name).chmod(0o644)


DIGEST = digest_of(OLD)


@pytest.mark.parametrize(
    ("proves", "text", "proof"),
    [
        ("rows", '{"rows": 1000}\n', BackupProof(rows=1000)),
        ("digest", f'{{"digest": "{DIGEST}"}}', BackupProof(digest=DIGEST)),
    ],
)
def test_a_trial_restore_proves_what_both_programs_state(
    lab: Lab, proves: Literal["rows", "digest"], text: str, proof: BackupProof
) -> None:
    state(lab, text, text)
    saved = backup(proves=proves)
    made = make_backup(lab.ground, saved)
    assert made.proof == proof
    assert run_part(lab.ground, TryRestore(saved, made)) == made


@pytest.mark.parametrize(
    ("tried", "finding", "words"),
    [
        ('{"rows": 999}', "try-proof-differs", "load --scratch states 999 rows, admin dump stated 1000 rows"),
        (None, "try-proof-missing", "wrote no statement of its rows to WAYBILL_PROOF"),
        ("1000", "try-proof-malformed", "expected `object`, got `int`"),
        ('{"rows": "1000"}', "try-proof-malformed", "expected `int | null`, got `str`"),
        ('{"rows": -1}', "try-proof-malformed", ">= 0"),
        ('{"rows": 1000, "size": 1}', "try-proof-malformed", "unknown field `size`"),
        (f'{{"digest": "{DIGEST}"}}', "try-proof-malformed", "it states digest, expected rows"),
        (f'{{"rows": 1000, "digest": "{DIGEST}"}}', "try-proof-malformed", "it states rows and digest, expected rows"),
        ('{"rows": 1000' + " " * 1024 + "}", "try-proof-malformed", "more than 1024 bytes"),
    ],
)
def test_a_trial_restore_that_proves_something_else_has_failed(
    lab: Lab, tried: str | None, finding: str, words: str
) -> None:
    """F-12.4"""
    state(lab, '{"rows": 1000}', tried)
    saved = backup(proves="rows")
    made = make_backup(lab.ground, saved)
    with pytest.raises(HostError) as found:
        run_part(lab.ground, TryRestore(saved, made))
    assert found.value.finding == finding
    assert words in found.value.problem
    assert lab.database.read_bytes() == OLD


def test_a_backup_without_the_statement_that_it_owes_leaves_nothing(lab: Lab) -> None:
    """F-12.4"""
    with pytest.raises(HostError, match="wrote no statement of its digest") as found:
        make_backup(lab.ground, backup(proves="digest"))
    assert found.value.finding == "backup-proof-missing"
    assert lab.files() == {}


@pytest.mark.parametrize(
    ("proves", "made", "finding"),
    [
        ("rows", '{"rows": 3}', None),
        ("rows", '{"rows": 0}', "backup-too-small"),
        # A digest says that the backup can be read, not that it has something.
        ("digest", f'{{"digest": "{DIGEST}"}}', "backup-too-small"),
    ],
)
def test_only_rows_make_up_for_a_backup_that_is_very_small(
    lab: Lab, proves: Literal["rows", "digest"], made: str, finding: str | None
) -> None:
    state(lab, made, made)
    lab.fate("small")
    if finding is None:
        assert make_backup(lab.ground, backup(proves=proves)).proof == BackupProof(rows=3)
    else:
        with pytest.raises(HostError) as found:
            make_backup(lab.ground, backup(proves=proves))
        assert found.value.finding == finding


def test_no_rows_are_believed_only_of_a_program_that_got_the_folder_of_its_service(lab: Lab) -> None:
    """Without the name of a service the program got the folder of all of them, and may have looked beside the data."""
    zero = BackupProof(rows=0)
    all_of_them, own = SavedFolder("data", len(OLD)), SavedFolder("data/app", len(OLD))
    assert backup_problem(len(OLD), zero, all_of_them) == ("backup-zero-rows", "states 0 rows; data has 9.8 KiB")
    assert backup_problem(len(OLD), zero, own) is None
    assert backup_problem(len(OLD), zero, SavedFolder("data", 0)) is None
    assert backup_problem(len(OLD), BackupProof(rows=1), all_of_them) is None


def test_a_small_backup_saves_a_folder_that_has_little(lab: Lab) -> None:
    """A file with a hole has its blocks, not its length: the hole needs no backup."""
    lab.database.write_bytes(b"")
    with lab.database.open("r+b") as file:
        file.truncate(1 << 30)
    lab.fate("small")
    made = make_backup(lab.ground, backup())
    assert (made.size, made.saved_bytes) == (27, len("small"))


def test_a_backup_fits_to_the_byte(lab: Lab) -> None:
    assert make_backup(lab.ground, backup(at_most=len(OLD))).size == len(OLD)


def test_a_former_attempt_is_replaced(lab: Lab) -> None:
    lab.ground.backups.mkdir(parents=True)
    (lab.ground.backups / ".database.part").write_bytes(b"torn")
    (lab.ground.backups / "database").write_bytes(b"of yesterday")
    make_backup(lab.ground, backup())
    assert lab.files() == {"database": OLD}


def test_a_backup_is_synced_before_it_has_its_name(lab: Lab) -> None:
    disk = RecordingDisk(lab.ground.site)
    make_backup(lab.with_disk(disk), backup())
    kinds = [op.kind for op in disk.ops if op.path.startswith("backups/2")]
    written = kinds.index("create")
    assert set(kinds[written + 1 : -3]) == {"write"}
    assert kinds[-3:] == ["sync", "rename", "sync-folder"]


def test_the_plug_at_every_effect_of_a_backup(lab: Lab) -> None:
    make_backup(lab.ground, backup())
    shutil.rmtree(lab.ground.backups.parent)
    for at in itertools.count():
        try:
            make_backup(lab.with_disk(PluggedDisk(at)), backup())
        except PulledPlugError:
            assert lab.files().get("database", OLD) == OLD
        else:
            assert lab.files() == {"database": OLD}
            break
        shutil.rmtree(lab.ground.backups.parent, ignore_errors=True)
    assert at > 5


def test_a_full_disk_at_every_effect_of_a_backup(lab: Lab) -> None:
    make_backup(lab.ground, backup())
    for at in itertools.count():
        shutil.rmtree(lab.ground.backups.parent, ignore_errors=True)
        disk = FailingDisk(at, errno.ENOSPC)
        try:
            make_backup(lab.with_disk(disk), backup())
        except HostError as error:
            assert "no space left" in error.problem
        else:
            break
        assert disk.fired == 1
        assert lab.files().get("database", OLD) == OLD
        assert ".database.part" not in lab.files() or disk.kinds[-1] == "unlink"
    assert at > 5


def test_a_backup_that_cannot_be_restored_is_found_out_before_the_switch(lab: Lab) -> None:
    made = make_backup(lab.ground, backup())
    lab.fate("untried")
    with pytest.raises(HostError) as found:
        run_part(lab.ground, TryRestore(backup(), made))
    assert found.value.finding == "try-failed"


@pytest.mark.parametrize("damage", ["flipped", "shorter", "longer", "gone", "link", "folder"])
def test_a_damaged_backup_is_never_fed_to_anything(lab: Lab, damage: str) -> None:
    made = make_backup(lab.ground, backup())
    path = lab.ground.backups / "database"
    data = path.read_bytes()
    path.unlink()
    match damage:
        case "flipped":
            path.write_bytes(data[:500] + bytes([data[500] ^ 1]) + data[501:])
        case "shorter":
            path.write_bytes(data[:-1])
        case "longer":
            path.write_bytes(data + b"\n")
        case "link":
            (path.parent / "other").write_bytes(data)
            path.symlink_to("other")
        case "folder":
            path.mkdir()
    lab.database.write_bytes(b"schema 7\n")
    for part in (TryRestore(backup(), made), Restore(backup(), made)):
        with pytest.raises(DamagedError) as found:
            run_part(lab.ground, part)
        assert found.value.finding == ("backup-missing" if damage == "gone" else "backup-damaged")
    assert lab.database.read_bytes() == b"schema 7\n"


@pytest.mark.parametrize(("fate", "finding"), [("broken", "step-failed"), ("unchecked", "check-failed")])
def test_a_step_that_fails(lab: Lab, fate: str, finding: str) -> None:
    lab.fate(fate)
    with pytest.raises(HostError) as found:
        apply_step(lab.ground, step())
    assert found.value.finding == finding
    assert found.value.exit_code == 6


def test_an_undo_that_fails(lab: Lab) -> None:
    lab.fate("broken")
    with pytest.raises(HostError) as found:
        run_part(lab.ground, Undo(step()))
    assert found.value.finding == "undo-failed"
    with pytest.raises(AssertionError):
        run_part(lab.ground, Undo(step(undo=False)))


def test_the_document_drives_the_hands(lab: Lab) -> None:
    """Forward, a failure, and back: by nothing but `next_part`, on real data."""
    doc = document(step("one"), step("two", "restore"), backups=(backup(),))
    records: list[PartRecord | RetryRequested] = []
    back, ran = False, []
    lab.fate("")
    while True:
        part = next_part(doc, tuple(records), back=back, fresh=False)
        if isinstance(part, GoBack):
            back = True
            continue
        if isinstance(part, Settled | Blocked):
            break
        act, name = World(doc, frozenset(), saved={"database"}).begin(part)
        ran.append(act)
        records.append(begun(act, name))
        if (act, name) == ("migrate", "two"):
            lab.fate("broken")
        made = None
        try:
            made = run_part(lab.ground, part)
        except WaybillError:
            records.append(PartRecord(act, name, "failed"))
        else:
            records.append(PartRecord(act, name, "done", made.digest if made else None, made.size if made else 0))
    assert part == Settled()
    assert ran == ["backup", "try", "migrate", "migrate", "restore"]
    assert lab.database.read_bytes() == OLD


# --- before it begins ---------------------------------------------------------------------------------------------


def test_what_backups_will_take() -> None:
    doc = document(step(), backups=(backup("database", 5000), backup("files", 4096)))
    assert backup_space(doc, fresh=False, block=4096) == (8192 + 4096 + 4096, 4)
    assert backup_space(doc, fresh=True, block=4096) == (0, 0)


def test_the_ground_is_checked_whole(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    doc = document(step(), backups=(backup(),))
    check_migration_context(lab.ground, doc)
    assert not lab.ground.folder.exists()
    for release, platform, finding in (
        (msgspec.structs.replace(lab.ground.release, programs=()), lab.ground.platform, "program-unknown"),
        (lab.ground.release, "plan9/mips", "program-platform"),
    ):
        with pytest.raises(RefusedError) as found:
            check_migration_context(replace(lab.ground, release=release, platform=platform), doc)
        assert found.value.finding == finding
    # A document that runs nothing asks nothing of the host.
    check_migration_context(replace(lab.ground, account=ProgramAccount("root", 0, 0)), document())


def settings(user: str | int | None, backups: str = "backups") -> SiteFile:
    program = None if user is None else ProgramDriverFile(user=user)
    return SiteFile(
        waybill=1,
        site="a/b/c/d",
        channel="stable",
        target="vm",
        drivers=DriversFile(program=program),
        backups=backups,
    )


def test_the_ground_of_a_generation(tmp_path: Path) -> None:
    release = Vendor().release()[0]
    installed = Installed(number=7, release=release, settings=settings(1234), config=None)
    ground = migration_context(tmp_path, tmp_path / "blobs", Disk(), installed, ours=0)
    assert (ground.folder, ground.backups) == (tmp_path / "generations" / "7", tmp_path / "backups" / "7")
    assert ground.account.uid == 1234
    elsewhere = Installed(number=7, release=release, settings=settings(1234, "/srv/backups"), config=None)
    assert migration_context(tmp_path, tmp_path, Disk(), elsewhere, ours=0).backups == Path("/srv/backups/7")
    nobody = Installed(number=7, release=release, settings=settings(None), config=None)
    with pytest.raises(RefusedError, match="names no account"):
        migration_context(tmp_path, tmp_path, Disk(), nobody, ours=0)


# --- the driver ---------------------------------------------------------------------------------------------------


def driver_context(lab: Lab, install: InstallStep) -> DriverContext:
    doc = put_blob(lab.ground.blobs, encode(document(step(), backups=(backup(),))))
    return DriverContext(
        site=lab.ground.site,
        release=release_with(rollback=doc, install=(install,)),
        generation=2,
        blobs=lab.ground.blobs,
        settings={"user": lab.ground.account.uid},
        config=None,
        disk=Disk(),
    )


def test_the_driver_puts_the_programs_there_and_does_not_migrate(lab: Lab) -> None:
    install = InstallStep(step="schema", driver="program", migration="widen")
    context, driver = driver_context(lab, install), ProgramDriver()
    plan = driver.plan(install, context)
    (line,) = plan.staging
    assert line == f"place admin for migration widen, to run as {lab.ground.account.uid} without a network"
    assert (plan.activation, plan.deactivation) == ((), ()), "the machine migrates, and not the driver"
    assert plan.bytes_needed >= len(ADMIN)
    assert [one.observed for one in driver.observe(plan, context)] == [ABSENT]
    for _ in range(2):
        driver.stage(plan, context)
        driver.activate(plan, context)
    assert [one.problem for one in driver.observe(plan, context)] == [""]
    assert lab.database.read_bytes() == OLD
    path = lab.ground.folder / "programs" / "admin"
    path.chmod(0o755)
    path.write_bytes(b"other")
    assert "is digest sha256:" in driver.observe(plan, context)[0].problem
    driver.deactivate(plan, context)
    driver.discard(plan, context)
    assert lab.database.read_bytes() == OLD


@pytest.mark.parametrize(
    "install",
    [
        InstallStep(step="schema", driver="program"),
        InstallStep(step="schema", driver="program", migration="unknown"),
        InstallStep(step="schema", driver="program", migration="widen", chart="x"),
    ],
)
def test_the_driver_takes_one_migration(lab: Lab, install: InstallStep) -> None:
    with pytest.raises(RefusedError) as found:
        ProgramDriver().plan(install, driver_context(lab, install))
    assert found.value.finding == "driver-step"
