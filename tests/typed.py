"""The program's own commands, typed at a site of a test in this process: its clock, its disk, its probes, its programs.

Nothing of what the command says is replaced: text, messages and exit code are those that an operator sees.
"""

import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

import verifier.commands.change_options
import verifier.commands.site_options
from console.output import say
from manifests.trust.private_keys import encode_private
from tests.place import Place
from waybill import cli

# What each command takes from the host, by the module that defines it.
_TAKEN = ("this_host", "Disk", "utc_now", "runtime_here", "write_report_after", "measure_health")


@dataclass(frozen=True)
class Typed:
    words: tuple[str, ...]
    code: int
    out: str
    err: str

    @property
    def finding(self) -> str:
        """The first line of the error; empty without one."""
        lines = re.findall(r"(?m)^error: (.*)$", self.err)
        return lines[0] if lines else ""

    @property
    def next_commands(self) -> list[list[str]]:
        """The words of each ``next:`` line, without ``waybill``."""
        return [shlex.split(line)[1:] for line in re.findall(r"(?m)^ *next: (waybill .*)$", self.out)]


def typed(place: Place, *words: object) -> Typed:
    """Type ``waybill WORDS`` at the site; nobody is at the terminal."""
    line = tuple(map(str, words))
    with _at(place) as patch:
        patch.setenv("WAYBILL_SITE", str(place.path))
        done = CliRunner().invoke(cli, list(line), catch_exceptions=False)
    assert "Traceback" not in done.stderr
    return Typed(line, done.exit_code, done.stdout, done.stderr)


@contextmanager
def _at(place: Place) -> Iterator[pytest.MonkeyPatch]:
    """Put the place's clock, disk and runtime where the commands take them from."""
    from verifier.commands import approve, check, confirm, install, recover, review, rollback, status

    modules = (approve, check, confirm, install, recover, review, rollback, status)
    shared = (verifier.commands.change_options, verifier.commands.site_options)
    with pytest.MonkeyPatch.context() as patch:
        for module in (*modules, *shared):
            for name in _TAKEN:
                if hasattr(module, name):
                    patch.setattr(module, name, _instead(place, name))
        yield patch


def _instead(place: Place, name: str) -> object:
    """Return what stands at the test's site for ``name`` of the program."""
    match name:
        case "this_host":
            return place.clock.host
        case "Disk":
            return lambda: place.disk
        case "utc_now":
            return lambda: place.clock.at
        case "runtime_here":
            return lambda: replace(place.tools(), notify=say)
        case "write_report_after":
            return place._tell
    return partial(sys.modules["verifier.reporting.health"].measure_health, look=place.look)


def key_file(place: Place, person: str = "ops-1") -> Path:
    """Return the private key of a person as a file."""
    path = place.path.parent / f"{person}.key"
    if not path.exists():
        path.write_bytes(encode_private(place.people[person], None))
        path.chmod(0o600)
    return path


def follow(place: Place, first: Typed) -> list[Typed]:
    """Type each command of a ``next:`` line as it was printed, until no other follows; none of them may be refused."""
    key, done = key_file(place), list[Typed]()
    last = first
    while commands := last.next_commands:
        assert len(commands) == 1
        assert len(done) < 6, [one.words for one in done]
        last = typed(place, *(key if word == "KEY" else word for word in commands[0]))
        done.append(last)
        if last.words[0] == "check":
            # It says what is missing, or the command that led here was wrong.
            assert (last.code, "failed: " in last.out) == (5, True), last
        else:
            # An install or a rollback may end in a trial that waits for a person.
            assert last.code in ((0, 11) if last.words[0] in ("install", "rollback") else (0,)), last
    return done
