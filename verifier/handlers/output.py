"""What a handler works with, and what it gives back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from manifests.documents.telemetry import Value
from manifests.words.errors import RefusedError
from verifier.install.context import Runtime
from verifier.install.result import WriteReport
from verifier.site.folder import Site
from verifier.site.generations import Installed, read_running


@dataclass(frozen=True)
class HandlerContext:
    """What a handler of the verifier may use: a held site, its drivers and probes, and its own checked parameters."""

    site: Site
    runtime: Runtime
    write_report: WriteReport
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def notify(self) -> Callable[[str], None]:
        return self.runtime.notify

    def running(self) -> Installed:
        """Return the running generation. Raises RefusedError when nothing runs."""
        installed = read_running(self.site)
        if installed is None:
            raise handler_error("nothing-installed", "nothing is installed here", "install a release first")
        return installed


@dataclass(frozen=True)
class HandlerOutput:
    """What a handler states.

    Attributes:
        values: By field; one that the contract's signal does not allow stays at the site.
        rows: Of each of several things, at most ``MAX_HANDLER_ROWS``, fields besides ``values``. They leave as a row
            each where the signal has one of their fields.
        lines: For people at the site; they never leave it.
        printed: What a program printed for people; shown once, and kept nowhere.
        reason: Why it failed, as a stable word; None when it succeeded.
        exit_code: Of a program.
        timed_out: It was ended because its time was up.
        withheld: Digest of what it put out where that is not in ``values``.
    """

    values: Mapping[str, Value] = field(default_factory=dict)
    rows: tuple[Mapping[str, Value], ...] = ()
    lines: tuple[str, ...] = ()
    printed: tuple[str, ...] = ()
    reason: str | None = None
    exit_code: int | None = None
    timed_out: bool = False
    withheld: str | None = None


Perform = Callable[[HandlerContext], HandlerOutput]


def handler_error(finding: str, problem: str, remedy: str) -> RefusedError:
    """Return the error for what a handler finds it cannot do here; its finding leaves as the reason."""
    return RefusedError(problem, where="handler", remedy=remedy, finding=finding)
