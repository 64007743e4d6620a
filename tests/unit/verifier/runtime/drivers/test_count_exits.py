"""How often a service ended by itself, by the log of supervisord."""

from datetime import datetime
from pathlib import Path

from verifier.runtime.drivers.supervisord import count_exits

SINCE = datetime(2026, 3, 1, 12, 0, 0)  # the log has local time without a zone
LINES = """\
2026-03-01 11:59:59,100 WARN exited: app-g1 (exit status 3; not expected)
2026-03-01 12:00:00,100 WARN exited: app-g1 (exit status 3; not expected)
2026-03-01 12:00:01,100 INFO spawned: 'app-g1' with pid 7
2026-03-01 12:00:02,100 INFO exited: app-g1 (exit status 0; expected)
2026-03-01 12:00:03,100 WARN exited: app-g12 (exit status 3; not expected)
2026-03-01 12:00:04,100 WARN stopped: app-g1 (terminated by SIGTERM)
2026-13-01 12:00:05,100 WARN exited: app-g1 (a day that does not exist)
"""


def test_ends_of_this_service_since_then_and_no_stops(tmp_path: Path) -> None:
    log = tmp_path / "supervisord.log"
    assert count_exits(log, "app-g1", SINCE) == 0
    log.write_text(LINES)
    assert count_exits(log, "app-g1", SINCE) == 2
    assert count_exits(log, "app-g12", SINCE) == 1
    # The log that was rotated away counts as well.
    (tmp_path / "supervisord.log.1").write_text(LINES)
    assert count_exits(log, "app-g1", SINCE) == 4
