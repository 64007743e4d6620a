"""Every stored document of a site, broken in every way, seen by every command: `python -m tests.stored_matrix`.

A document is broken as a disk or a person breaks it, and as a vendor could have signed it: then its digest is right, as
at a site whose older verifier took it in. The suite looks at a sample; the whole takes about ten minutes.
"""

import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

from click.testing import CliRunner, Result

from manifests.words.digest import digest_of
from manifests.words.errors import (
    OTHER_MEDIUM,
    REPLACE_MEDIUM,
    DamagedError,
    HostError,
    MalformedError,
    UntrustedError,
)
from tests.stored import PLAIN, broken, full_site, hostile, replaced, signed_documents, stored_documents
from verifier.commands.history import history_command
from verifier.commands.recover import recover_command
from verifier.commands.report import report_command
from verifier.commands.review import review_command
from verifier.commands.rollback import rollback_command
from verifier.commands.status import status_command
from verifier.site import blobs

# By name: the command, its arguments, and what it prints whatever one document is like.
COMMANDS: Mapping[str, tuple[Any, list[str], tuple[str, ...]]] = {
    "status": (status_command, ["--fast"], ("northern-grid/small/production/east", "1.0.0", "1.1.0", "verifier")),
    "review": (review_command, [], ("r-1.2.0", "config", "policy")),
    "history": (history_command, [], ("1.1.0",)),
    "preview": (report_command, ["--preview"], ('"site":',)),
    "status-whole": (status_command, [], ("northern-grid/small/production/east", "1.0.0", "1.1.0", "verifier")),
    **{item: (review_command, [item], ()) for item in ("r-1.2.0", "config", "policy", "b-1")},
    "report": (report_command, [], ()),
    "why": (report_command, ["--why"], ()),
    "rollback": (rollback_command, ["--dry-run"], ()),
    "recover": (recover_command, [], ()),
}
READING = tuple(name for name in COMMANDS if name != "recover")
DOCUMENTED = {0, 3, 4, 5, 6, 7, 8, 9, 14}
# Hints that do not know which file they are about.
GENERAL = {
    MalformedError.usual,
    UntrustedError.usual,
    DamagedError.usual,
    HostError.usual,
    OTHER_MEDIUM,
    REPLACE_MEDIUM,
}
# What an error calls a document, where it does not name its file.
WORDS = ("contract", "rollback document", "schema", "authorisation", "policy", "approval of", "plan", "revocation list",
         "report", "release", "settings", "config")  # fmt: skip


def run(path: Path, name: str) -> Result:
    command, arguments, _ = COMMANDS[name]
    return CliRunner().invoke(command, [*arguments, "--site", str(path)])


def usual_codes(path: Path) -> dict[str, int]:
    codes = {name: run(path, name).exit_code for name in COMMANDS}
    assert set(codes.values()) == {0}, codes
    return codes


def check_answer(path: Path, document: Path, usual: int, name: str) -> None:
    """The command ends as documented, shows what the document does not touch, names what it lacks and the way back."""
    done = run(path, name)
    shown = f"{document} {name} {done.exit_code}: {done.output} {done.exception!r}"
    assert isinstance(done.exception, SystemExit | None), shown
    assert done.exit_code in DOCUMENTED, shown
    assert "\x1b[2J" not in done.output, shown
    assert all(words in done.stdout for words in COMMANDS[name][2]), shown
    if done.exit_code != usual:
        lines = done.output.splitlines()
        errors = " ".join(line for line in lines if line.startswith("error: "))
        assert document.name[:12] in errors or any(word in errors for word in WORDS), shown
        (hint,) = [line.removeprefix("hint: ") for line in lines if line.startswith("hint: ")]
        assert hint not in GENERAL, shown


@contextmanager
def believed(path: Path, data: bytes) -> Iterator[None]:
    """The file holds ``data`` under the digest of what it held before."""
    digest = digest_of(path.read_bytes())
    with (
        replaced(path, data),
        patch.object(blobs, "digest_of", lambda given: digest if given == data else digest_of(given)),
    ):
        yield


def damaged(site: Path, every: int = 1, commands: tuple[str, ...] = READING) -> int:
    """Let the commands answer beside each damaged document, every so manieth combination; return how many."""
    usual, count = usual_codes(site), 0
    combinations = ((document, how, name) for document in stored_documents(site) for how in PLAIN for name in commands)
    for document, how, name in islice(combinations, 0, None, every):
        with broken(site / document, how):
            check_answer(site, document, usual[name], name)
        count += 1
    return count


def believed_hostile(site: Path, every: int = 1) -> int:
    """Let the commands answer beside each hostile document, every so manieth combination; return how many."""
    usual, count, at = usual_codes(site), 0, 0
    for document in signed_documents(site):
        for data in hostile((site / document).read_bytes()).values():
            for name in READING:
                at += 1
                if at % every == 0:
                    with believed(site / document, data):
                        check_answer(site, document, usual[name], name)
                    count += 1
    return count


def main() -> None:
    every = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    with tempfile.TemporaryDirectory() as folder:
        site = full_site(Path(folder) / "full").path
        shutil.copytree(site, Path(folder) / "site", symlinks=True)
        print(f"{damaged(site, every)} damaged, {damaged(Path(folder) / 'site', every, ('recover',))} before recover")
        print(f"{believed_hostile(site, every)} hostile")


if __name__ == "__main__":
    main()
