"""Every act of an install or a rollback before it happens: the machine's own decisions, with each act taken as done.

The journal's fold is applied to entries that are never written, and `decide` answers as it will answer the machine. So
a review cannot name an act that is not done, nor leave one out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain

from msgspec.structs import replace

from manifests.documents.rollback import Backup
from manifests.trust.root import Mark
from manifests.words.digest import digest_of
from manifests.words.text import argv
from manifests.words.time import rfc3339
from verifier.change.driver_steps import DriverStep
from verifier.change.recovery import (
    ConfirmTrial,
    DiskState,
    Idle,
    RecoveryRequest,
    RollbackScript,
    RunAct,
    act_of_part,
    decide,
)
from verifier.change.transaction_script import SCRIPTED
from verifier.change.values import Change
from verifier.site.journal.events import Act, Actor, Approved, Confirmed, Event, Intent, Outcome, Record
from verifier.site.journal.fold import apply
from verifier.site.journal.installs import Transaction
from verifier.site.journal.state import SiteState
from verifier.site.journal.transitions import Apply, MakeBackup, NextPart, Restore, TryRestore, Undo

# The digest of a backup that is not made yet; the fold only asks whether there is one.
NOT_MADE = digest_of(b"")
NOBODY = Actor(account="forecast", uid=0)


@dataclass(frozen=True)
class ForecastAct:
    """One act, as the journal will record its intent.

    Attributes:
        step: Its driver step, part or probe; None for an act of the whole transaction.
        words: For people, one line each; empty for an act that only frames others.
    """

    act: Act
    step: str | None
    words: tuple[str, ...] = ()


def part_label(act: Act, name: str) -> str:
    """Return how the line of a part begins: the act and its name."""
    match act:
        case "backup":
            return f"back up {name}:"
        case "try":
            return f"try to restore {name} from its backup:"
        case "migrate":
            return f"migrate, step {name}:"
        case "undo":
            return f"undo step {name}:"
        case "restore":
            return f"restore {name} from its backup"
    raise AssertionError(act)


def part_words(part: NextPart) -> str:
    """Return what a part of the rollback document does, for the review and for the progress of an install."""
    act, name = act_of_part(part)
    label = part_label(act, name or "")
    match part:
        case MakeBackup(backup):
            return f"{label} {argv(backup.make)}"
        case TryRestore(backup, _):
            proves = f"; {proves_words(backup)}" if backup.proves else ""
            return f"{label} {argv(backup.try_)}{proves}"
        case Apply(step):
            return f"{label} {argv(step.do)}"
        case Undo(step):
            return f"{label} {argv(step.undo or ())}"
        case Restore(backup, made):
            proof = f" ({made.proof.words})" if made.proof else ""
            return f"{label}{proof}: {argv(backup.restore)}"
    raise AssertionError(part)


def proves_words(backup: Backup) -> str:
    """Return what a trial restore proves: what both programs of the backup must state."""
    match backup.proves:
        case "rows":
            return "must state as many rows as the backup"
        case "digest":
            return "must state the same digest as the backup"
    return "proves nothing"


def pause_words(step: DriverStep) -> str:
    return f"{step.step}: stop the service until the switch, so that nothing writes data"


def switch_words(target: int) -> str:
    return f"switch to generation {target}"


def deactivated_steps(source: Sequence[DriverStep], target: Sequence[DriverStep]) -> tuple[DriverStep, ...]:
    """Return the steps that only the former generation has, in the order in which they are deactivated."""
    kept = {(step.step, step.driver.name) for step in target}
    return tuple(step for step in reversed(source) if (step.step, step.driver.name) not in kept)


def paused_steps(source: Sequence[DriverStep]) -> tuple[DriverStep, ...]:
    """Return the steps whose service is stopped for backups and migrations, in the order in which they are stopped."""
    return tuple(step for step in reversed(source) if step.plan.step.keep_running is not None)


@dataclass
class _Forecast:
    """One transaction under way that nobody carries out; ``acts`` collects what the machine would begin."""

    state: SiteState
    change: Change
    source: Sequence[DriverStep]
    target: Sequence[DriverStep]
    acts: list[ForecastAct] = field(default_factory=list)

    @property
    def transaction(self) -> Transaction:
        transaction = self.state.installs.transaction
        assert transaction is not None  # `run` has planned one
        return transaction

    def run(self) -> SiteState:
        """Go on until nothing is left to do, and return the state of the site then."""
        self._write(self.change.planned)
        self._write(Approved(approvals=()))
        request = RecoveryRequest(forward=True, person=False)
        while True:
            decision = decide(
                self.state, DiskState(self.state.installs.current, self.state.boot), request, self._script()
            )
            match decision:
                case RunAct(act, None):
                    self._run(act)
                case RunAct(_, part) if part is not None:
                    self._run_part(part)
                case ConfirmTrial():
                    planned = self.change.planned
                    stream = self.state.installs.stream_of(planned.channel)
                    floor = Mark(epoch=planned.mark.epoch, sequence=planned.floor)
                    known = stream.floor if stream else None
                    self._write(
                        Confirmed(generation=planned.target, floor=max(floor, known) if known else floor, by="probes")
                    )
                case Idle():
                    return self.state
                case _:
                    # Whatever else is decided waits for a person, and nothing follows without one.
                    return self.state

    def _run(self, act: Act) -> None:
        """Begin and end an act that has driver steps or probes of its own."""
        inner: dict[Act, list[ForecastAct]] = {
            "pause": [ForecastAct("deactivate", step.step, (pause_words(step),)) for step in paused_steps(self.source)],
            "activate": [
                *(
                    ForecastAct("deactivate", step.step, _named(step, step.plan.deactivation))
                    for step in deactivated_steps(self.source, self.target)
                ),
                *(ForecastAct("activate", step.step, _named(step, step.plan.activation)) for step in self.target),
            ],
            "probe": [ForecastAct("probe", probe.name) for probe in self.change.release.probes],
        }
        words = {
            "stage": tuple(chain.from_iterable(_named(step, step.plan.staging) for step in self.target)),
            "switch": (switch_words(self.change.target),),
        }
        self.acts.append(ForecastAct(act, None, words.get(act, ())))
        self._write(Intent(act=act))
        for part in inner.get(act, ()):
            self.acts.append(part)
            self._write(Intent(act=part.act, step=part.step))
            code = "passing" if part.act == "probe" else "ok"
            self._write(Outcome(act=part.act, step=part.step, result="done", code=code))
        self._write(Outcome(act=act, result="done"))

    def _run_part(self, part: NextPart) -> None:
        act, name = act_of_part(part)
        self.acts.append(ForecastAct(act, name, (part_words(part),)))
        self._write(Intent(act=act, step=name))
        self._write(Outcome(act=act, step=name, result="done", digest=NOT_MADE if act == "backup" else None))

    def _script(self) -> RollbackScript | None:
        planned = self.change.planned
        document = self.change.rollback
        if not planned.document or document is None or self.transaction.state not in SCRIPTED:
            return None
        return RollbackScript(
            document=document,
            records=self.state.installs.part_history(planned.document),
            back=planned.action == "rollback",
            fresh=planned.source == 0,
        )

    def _write(self, event: Event) -> None:
        record = Record(
            seq=self.state.seq + 1,
            prev=self.state.head,
            at=rfc3339(self.state.last_at),
            boot=self.state.boot or NOBODY.account,
            uptime=self.state.uptime,
            actor=NOBODY,
            event=event,
        )
        self.state = apply(self.state, record, NOT_MADE)


@dataclass(frozen=True)
class Forecast:
    """What a plan will do when nothing fails: the acts of each change, and the state of the site at the end."""

    acts: tuple[tuple[ForecastAct, ...], ...]
    state: SiteState


def forecast(
    state: SiteState, hops: Sequence[Change], source: Sequence[DriverStep], steps: Sequence[Sequence[DriverStep]]
) -> Forecast:
    """Return what transactions in which nothing fails do, in the order of the machine.

    Args:
        source: Driver steps of the running generation; empty before a first install.
        steps: Driver steps of each change.
    """
    # What is unfinished or on trial is finished before anything else begins.
    state = replace(state, installs=replace(state.installs, transaction=None))
    acts = []
    for change, target in zip(hops, steps, strict=True):
        transaction = _Forecast(state, change, source, target)
        state = transaction.run()
        acts.append(tuple(transaction.acts))
        source = target
    return Forecast(tuple(acts), state)


def _named(step: DriverStep, lines: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{step.step}: {line}" for line in lines)
