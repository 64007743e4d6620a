"""A journal program that prints garbage, never ends or prints nothing: bounded, counted, and its process is gone."""

import json
import os
import time
from pathlib import Path

import pytest

from tests.counting import SIGNALS, Counting, CountingVendor, make_counting
from tests.real import tool
from verifier.collecting import collect, journal, look

VENDOR = CountingVendor(signals=SIGNALS.replace("{log: product_log,", "{journal: product_log,"))


@pytest.fixture
def counting(tmp_path: Path) -> Counting:
    return make_counting(tmp_path, VENDOR, {"product_log": "journal:shop.service"})


def program(counting: Counting, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let the journal be read through a program with this code."""
    path = counting.folder / "journalctl"
    path.write_text(f"#!/usr/bin/python3\nimport os, sys, time\n{code}\n")
    path.chmod(0o755)
    monkeypatch.setattr(journal, "PROGRAMS", (path,))


def entry(number: int, message: str) -> str:
    return json.dumps({"__CURSOR": f"s={number}", "MESSAGE": message})


def test_garbage_and_long_entries_are_counted(counting: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    program(counting, monkeypatch, f"print('''{entry(1, 'code=E1')}''')")
    counting.collect()
    lines = "\\n".join([entry(1, "code=E1"), "no json", '{"MESSAGE": "code=E1"}', entry(2, "code=E2")])
    program(counting, monkeypatch, f"print('''{lines}''')\nprint('x' * {2 << 20})\nos.write(1, b'\\xff\\n')")
    read = counting.collect().looks[1]
    assert (read.problem, read.dropped) == (None, {"malformed": 4})
    program(counting, monkeypatch, f"print('''{entry(2, 'code=E2')}''')")
    counting.collect(minutes=5)
    assert (counting.total("errors", "count", code="E1"), counting.total("errors", "count", code="E2")) == (0, 1)


@pytest.mark.parametrize(
    "code",
    ["time.sleep(600)", "while True: os.write(1, b'x' * 65536)", "while True: os.write(1, b'no json\\n' * 9999)"],
)
def test_a_program_that_never_ends_is_ended(
    counting: Counting, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str
) -> None:
    number = tmp_path / "pid"
    program(counting, monkeypatch, f"open({str(number)!r}, 'w').write(str(os.getpid()))\n{code}")
    monkeypatch.setattr(collect, "SIGNAL_SECONDS", 2.0)
    monkeypatch.setattr(look, "MAX_BYTES", 4 << 20)
    begun = time.monotonic()
    assert counting.collect().looks[1].unfinished
    assert time.monotonic() - begun < 60
    with pytest.raises(ProcessLookupError):
        os.kill(int(number.read_text()), 0)


def test_it_has_no_environment_of_the_site(counting: Counting, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PRODUCT_PASSWORD", "secret")
    seen = tmp_path / "seen"
    program(counting, monkeypatch, f"open({str(seen)!r}, 'w').write(str(dict(os.environ)) + os.getcwd())")
    counting.collect()
    assert "secret" not in seen.read_text()
    assert seen.read_text().endswith("/")


def test_a_real_journal_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The arguments are those of the real program; the journal of a host that runs tests may be empty."""
    monkeypatch.setattr(journal, "PROGRAMS", (Path(tool("journalctl")),))
    counting = make_counting(tmp_path, VENDOR, {"product_log": "journal:no-such-unit.service"})
    for _ in range(2):
        read = counting.collect(minutes=1).looks[1]
        assert (read.problem, read.dropped) == (None, {})
