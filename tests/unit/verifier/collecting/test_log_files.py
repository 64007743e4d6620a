"""Logs: every byte once, through rotation, truncation, crashes and a full disk; only regular files are opened."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import pytest

from tests.counting import Counting, make_counting
from verifier.collecting import look
from verifier.site.disk import Disk

T = TypeVar("T")


@pytest.fixture
def counting(tmp_path: Path) -> Counting:
    counting = make_counting(tmp_path)
    counting.log.write_bytes(b"code=E1 of the past\ncode=E1 unfin")
    counting.collect()
    return counting


def write(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def counts(counting: Counting) -> tuple[int, int]:
    """Close the interval, and return how often each code was counted."""
    counting.collect(minutes=5)
    return counting.total("errors", "count", code="E1"), counting.total("errors", "count", code="E2")


def test_the_past_is_not_counted_and_each_line_is_counted_once(counting: Counting) -> None:
    write(counting.log, b"ished\ncode=E2\n")
    counting.collect()
    counting.collect()
    write(counting.log, b"code=E2 a\nnothing\n")
    counting.collect()
    assert counts(counting) == (1, 2)
    assert counting.dropped("errors") == {}


@pytest.mark.parametrize("name", ["product.log.1", "product.log-20261130", "product.log.20261130-101112"])
def test_a_rotated_file_is_read_to_its_end_first(counting: Counting, name: str) -> None:
    write(counting.log, b"ished\n")
    counting.collect()
    write(counting.log, b"code=E2\ncode=E2 without a line break")
    counting.log.rename(counting.log.with_name(name))
    counting.log.write_bytes(b"code=E1 of the new file\n")
    counting.collect()
    assert counts(counting) == (2, 2)
    assert counting.dropped("errors") == {}


def test_two_rotations_between_two_looks_lose_nothing(counting: Counting) -> None:
    write(counting.log, b"ished\n")
    counting.log.rename(counting.log.with_name("product.log.2"))
    counting.log.with_name("product.log.1").write_bytes(b"code=E2\n")
    os.utime(counting.log.with_name("product.log.2"), (1, 1))
    counting.log.write_bytes(b"code=E2\n")
    counting.collect()
    assert counts(counting) == (1, 2)


def test_a_log_that_is_gone_and_one_that_was_truncated_are_gaps(counting: Counting) -> None:
    counting.log.unlink()
    assert counting.collect().looks[1].problem == "source-missing"
    counting.log.write_bytes(b"code=E2\n")
    counting.collect()
    with counting.log.open("r+b") as file:
        file.truncate(0)
        file.write(b"code=E1, and longer than before\n")
    counting.collect()
    assert counts(counting) == (1, 1)
    assert counting.dropped("errors") == {"source-missing": 1, "gap": 2}


def test_what_is_no_regular_file_is_not_opened(counting: Counting, tmp_path: Path) -> None:
    secret = tmp_path / "shadow"
    secret.write_bytes(b"code=E1\n")
    kinds: tuple[Callable[[], None], ...] = (
        lambda: counting.log.symlink_to(secret),
        lambda: os.mkfifo(counting.log),
        lambda: counting.log.mkdir(),
    )
    for make in kinds:
        if counting.log.is_dir():
            counting.log.rmdir()
        else:
            counting.log.unlink()
        make()
        look_ = counting.collect().looks[1]
        assert (look_.problem, look_.dropped) == ("source-unreadable", {"source-unreadable": 1})
        assert str(counting.log) in look_.notes[0]
    assert counts(counting) == (0, 0)


def test_what_is_more_than_one_run_reads_is_read_by_the_next(
    counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look, "MAX_BYTES", 300 << 10)
    write(counting.log, b"ished\n" + b"code=E2 line\n" * 60_000)
    assert counting.collect().looks[1].unfinished
    counting.log.rename(counting.log.with_name("product.log.1"))
    counting.log.write_bytes(b"code=E1\n")
    while counting.collect().looks[1].unfinished:
        pass
    assert counts(counting) == (2, 60_000)
    assert counting.dropped("errors") == {}


def test_binary_and_overlong_lines_are_counted_and_harm_nothing(counting: Counting) -> None:
    write(counting.log, b"ished\n" + os.urandom(4096).replace(b"code", b"") + b"\n" + b"\0" * 300_000 + b"\ncode=E2\n")
    counting.collect()
    assert counts(counting) == (1, 1)
    assert counting.dropped("errors") == {"too-long": 1}


class FullDisk(Disk):
    """Fails every write, after half of it."""

    def _effect(self, kind: str, path: Path, act: Callable[[], T]) -> T:
        if kind in ("write", "rename"):
            raise OSError(28, "No space left on device")
        return super()._effect(kind, path, act)


def test_a_full_disk_keeps_the_old_state_and_counts_nothing_twice(counting: Counting) -> None:
    write(counting.log, b"ished\ncode=E2\n")
    before = {path.name: path.read_bytes() for path in (counting.place.path / "telemetry").glob("*")}
    collected = counting.collect(disk=FullDisk())
    assert collected.failure is not None
    assert collected.failure.exit_code == 6
    assert {path.name: path.read_bytes() for path in (counting.place.path / "telemetry").glob("*")} == before
    counting.collect()
    assert counts(counting) == (1, 1)


@pytest.mark.parametrize("step", range(5))
def test_a_crash_at_any_step_counts_nothing_twice(counting: Counting, step: int) -> None:
    """The process dies before effect number ``step`` on the file of the signal."""

    class Crash(BaseException):
        pass

    class Crashing(Disk):
        done = 0

        def _effect(self, kind: str, path: Path, act: Callable[[], T]) -> T:
            if "errors" in path.name:
                if self.done == step:
                    raise Crash
                self.done += 1
            return super()._effect(kind, path, act)

    write(counting.log, b"ished\ncode=E2\ncode=E2\n")
    with suppress(Crash):
        counting.collect(disk=Crashing())
    counting.collect()
    assert counts(counting) == (1, 2)


def test_damaged_counts_are_begun_anew_and_said(counting: Counting) -> None:
    path = counting.place.path / "telemetry" / "errors.json"
    for damage in (b"", b"{}", path.read_bytes()[:-5], b"\xff" * 100):
        path.write_bytes(damage)
        look_ = counting.collect().looks[1]
        assert look_.dropped == {"gap": 1}
        assert "is lost" in look_.notes[0]
    assert counts(counting) == (0, 0)
