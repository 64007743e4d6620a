"""The program as its users call it: a process of its own."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
# Where the system's sites are for a test: nowhere.
NO_STATE = Path("/nonexistent/waybill")
# `python -m waybill`, on a host that has no site.
PROGRAM = f"""
import pathlib, sys
import verifier.site.folder, waybill
verifier.site.folder.SYSTEM_STATE = pathlib.Path({str(NO_STATE)!r})
sys.argv[0] = "waybill"
waybill.main()
"""


@dataclass(frozen=True)
class Done:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


def waybill(*args: object, cwd: Path | None = None, stdin: bytes | None = None, **environ: str) -> Done:
    """Run `waybill ARGS`; no terminal, no colour; a traceback is never right."""
    keep = {key: value for key, value in os.environ.items() if not key.startswith("WAYBILL_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, args)],
        cwd=cwd,
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        check=False,
        env={**keep, "PYTHONPATH": str(ROOT), **environ},
        timeout=120,
    )
    found = Done(code=done.returncode, out=done.stdout.decode(), err=done.stderr.decode())
    assert "Traceback" not in found.err, found.err
    told = ("error:" in found.err and "hint:" in found.err) or '"error"' in found.out
    told |= found.out.startswith("Usage: ")  # the name of the program or of a group alone
    assert told or found.code in (0, 14, 130), found
    return found
