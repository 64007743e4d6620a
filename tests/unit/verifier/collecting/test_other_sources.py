"""Traces of a folder, logs of containers, the journal, and what is kept of a signal."""

import fcntl
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from manifests.words.errors import BusyError
from tests.counting import SIGNALS, CountingVendor, make_counting
from tests.place import make_place
from verifier.collecting import journal, kept
from verifier.commands.collect import collect_command
from verifier.site.disk import Disk

JOURNAL = SIGNALS.replace("{log: product_log,", "{journal: product_log,")


def request(*milliseconds: int, name: str = "intake") -> bytes:
    spans = [
        {"name": name, "startTimeUnixNano": "0", "endTimeUnixNano": str(ms * 10**6), "attributes": [{"key": "user"}]}
        for ms in milliseconds
    ]
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode()


def test_each_file_of_traces_is_read_once_and_on_from_its_end(tmp_path: Path) -> None:
    counting = make_counting(tmp_path)
    (counting.spans / "old.json").write_bytes(request(1) + b"\n")
    counting.collect()
    (counting.spans / "alice@example.com.jsonl").write_bytes(request(5, 7) + b"\n" + request(9)[:20])
    (counting.spans / "new.json").write_bytes(request(3, 40_000, name="other"))
    (counting.spans / "note.txt").write_bytes(request(3))
    (counting.spans / "folder.json").mkdir()
    (counting.spans / "link.json").symlink_to(counting.spans / "note.txt")
    os.mkfifo(counting.spans / "pipe.json")
    counting.collect()
    with (counting.spans / "alice@example.com.jsonl").open("ab") as file:
        file.write(request(9)[20:] + b"\n")
    (counting.spans / "alice@example.com.jsonl").rename(counting.spans / "rotated.json")
    counting.collect()
    counting.collect(minutes=5)
    assert (counting.total("intake_time", "count"), counting.total("intake_time", "max")) == (3, 9)
    assert counting.dropped("intake_time") == {}
    assert b"alice" not in (counting.place.path / "telemetry" / "intake_time.json").read_bytes()


def test_files_of_containers_are_decoded(tmp_path: Path) -> None:
    log = tmp_path / "0.log"
    log.write_bytes(b"")
    counting = make_counting(tmp_path, endpoints={"product_log": f"container:{log}"})
    counting.collect()
    cri = b"2026-11-30T19:00:00.123456789Z"
    lines = [
        json.dumps({"log": "code=E1 a\n", "stream": "stdout", "time": "2026-11-30T19:00:00Z"}).encode(),
        json.dumps({"log": "code=", "stream": "stdout"}).encode(),
        json.dumps({"log": "code=E2", "stream": "stderr"}).encode(),
        json.dumps({"log": "E1\n", "stream": "stdout"}).encode(),
        json.dumps({"log": "\n", "stream": "stderr"}).encode(),
        cri + b" stdout P code=",
        cri + b" stdout F E2",
        cri + b' stderr F {"log":"code=E1"}',
        b"code=E1 in no form",
        b"{code=E1",
        cri + b" stdout P code=",
    ]
    log.write_bytes(b"\n".join(lines) + b"\n")
    counting.collect()
    with log.open("ab") as file:
        file.write(cri + b" stdout F E2")
    counting.collect()
    with log.open("ab") as file:
        file.write(b"\n")
    counting.collect()
    counting.collect(minutes=5)
    assert counting.total("errors", "count", code="E1") == 3
    assert counting.total("errors", "count", code="E2") == 3
    assert counting.dropped("errors") == {"malformed": 2}


@contextmanager
def journalctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A program that prints the lines of ``entries`` from the cursor that it is given, as journalctl does."""
    program, entries = tmp_path / "journalctl", tmp_path / "entries"
    entries.write_text("")
    program.write_text(
        f"""#!/usr/bin/python3
import json, sys
arguments = sys.argv[1:]
assert arguments[:5] == ["--unit=shop.service", "--output=json", "--output-fields=MESSAGE", "--no-pager", "--quiet"]
lines = open({str(entries)!r}).read().splitlines()
cursor = next((a.removeprefix("--cursor=") for a in arguments if a.startswith("--cursor=")), None)
if "--lines=1" in arguments:
    lines = lines[-1:]
elif cursor is not None:
    numbers = [int(json.loads(line)["__CURSOR"][2:]) for line in lines]
    lines = [line for number, line in zip(numbers, lines) if number >= int(cursor[2:])]
print("\\n".join(lines))
"""
    )
    program.chmod(0o755)
    monkeypatch.setattr(journal, "PROGRAMS", (program,))
    yield entries


def entry(number: int, message: object) -> str:
    return json.dumps({"__CURSOR": f"s={number}", "MESSAGE": message}) + "\n"


def test_the_journal_is_read_on_from_its_cursor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with journalctl(tmp_path, monkeypatch) as entries:
        counting = make_counting(tmp_path, CountingVendor(signals=JOURNAL), {"product_log": "journal:shop.service"})
        entries.write_text(entry(1, "code=E1 of the past"))
        counting.collect()
        with entries.open("a") as file:
            file.write(
                entry(2, "code=E1") + entry(3, list(b"\xff code=E2")) + entry(4, None) + entry(5, ["code=E2", "x"])
            )
        counting.collect()
        counting.collect()
        # Entries 1 to 6 were removed by the journal; nobody knows what 6 was.
        entries.write_text(entry(7, "code=E1"))
        counting.collect()
        counting.collect(minutes=5)
    assert counting.total("errors", "count", code="E1") == 2
    assert counting.total("errors", "count", code="E2") == 2
    assert counting.dropped("errors") == {"gap": 1}


def test_without_journalctl_or_with_one_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counting = make_counting(tmp_path, CountingVendor(signals=JOURNAL), {"product_log": "journal:shop.service"})
    monkeypatch.setattr(journal, "PROGRAMS", (tmp_path / "none",))
    assert counting.collect().looks[1].problem == "source-missing"
    monkeypatch.setattr(journal, "PROGRAMS", (Path("/bin/false"),))
    assert counting.collect().looks[1].problem == "source-unreadable"


def test_a_withheld_signal_is_not_looked_at_and_its_counts_go(tmp_path: Path) -> None:
    counting = make_counting(tmp_path)
    counting.collect()
    folder = counting.place.path / "telemetry"
    assert (folder / "errors.json").is_file()
    yaml = counting.place.path / "site.yaml"
    yaml.write_text(yaml.read_text() + "telemetry: {withhold: [errors]}\n")
    counting.place.approve("config")
    counting.place.install("config")
    collected = counting.collect()
    assert (collected.withheld, collected.forgotten) == (("errors",), ("errors",))
    assert [look.signal for look in collected.looks] == ["requests", "intake_time"]
    assert not (folder / "errors.json").exists()


def test_old_rows_go_and_old_drops_with_them(tmp_path: Path) -> None:
    counting = make_counting(tmp_path)
    counting.log.unlink()
    counting.collect()
    counting.log.write_bytes(b"")
    for _ in range(3):
        counting.collect(minutes=5)
    signal = counting.vendor.contract().signals[2]
    assert counting.dropped("errors") == {"source-missing": 1}
    state = kept.read_counted(counting.place.path, signal)
    assert state is not None
    assert len(state[1].rows) == 6
    counting.collect(minutes=91 * 24 * 60)
    state = kept.read_counted(counting.place.path, signal)
    assert state is not None
    # The interval under way is all that is left.
    assert ({row.values["count"] for row in state[1].rows}, state[1].dropped) == ({0}, {})


def test_only_one_run_at_a_time(tmp_path: Path) -> None:
    counting = make_counting(tmp_path)
    counting.collect()
    with (counting.place.path / "telemetry" / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(BusyError), kept.hold_telemetry(counting.place.path, Disk(), seconds=0.2):
            pass
        # The lock of the site is another one: an install goes on meanwhile.
        with counting.place.hold():
            pass


def test_the_command_prints_what_it_did(tmp_path: Path) -> None:
    counting = make_counting(tmp_path, endpoints={"metrics": "tcp://127.0.0.1:9"})
    done = CliRunner().invoke(collect_command, ["--site", str(counting.place.path)])
    assert done.exit_code == 0, done.output
    assert "contract small-telemetry version 1" in done.output
    assert "is tcp://127.0.0.1:9, expected http://HOST:PORT or https://HOST:PORT or file:/PATH" in done.output
    done = CliRunner().invoke(collect_command, ["--site", str(counting.place.path), "--json"])
    result = json.loads(done.output)
    assert [signal["problem"] for signal in result["signals"]] == ["source-unreadable", None, None]
    assert stat.S_IMODE((counting.place.path / "telemetry").stat().st_mode) == 0o755


def test_before_the_first_install_nothing_is_counted(tmp_path: Path) -> None:
    place = make_place(tmp_path, CountingVendor())
    done = CliRunner().invoke(collect_command, ["--site", str(place.path)])
    assert (done.exit_code, done.output) == (0, "no telemetry contract is in force: nothing is counted\n")
    assert not (place.path / "telemetry").exists()
