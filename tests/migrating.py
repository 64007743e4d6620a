"""A product whose data change with its version: releases with backups and migrations, and the programs for them.

``ADMIN`` is a real program for the runner; ``FakePrograms`` does the same to the same file through the site's own
``Disk``, so that the crash model sees it too. The database is one file, its schema the first line of it.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from manifests.documents import release as r
from manifests.documents.backup_proof import BackupProof
from manifests.documents.rollback import Backup, Formats, Rollback, StateFormats, Step
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import HostError
from tests.vendor import Vendor
from verifier.change.data_return import backup_folder
from verifier.install.context import Programs
from verifier.runtime.program_files import this_platform
from verifier.runtime.saved_data import size_of_folder
from verifier.site.folder import Site
from verifier.site.generations import Installed
from verifier.site.journal.transitions import Apply, BackupRecord, MakeBackup, NextPart, Restore, TryRestore, Undo

PROBE = r.Probe(name="up", tcp=r.TcpProbe(endpoint="api"))
OLD = b"schema 1\nsignature\n"
# A file beside the database says what goes wrong today; a program of the release can neither be told nor asked.
ADMIN = rb"""#!/bin/sh
set -e
db="$WAYBILL_DATA/app/db"
fate=$(cat "$WAYBILL_DATA/app/fate" 2>/dev/null || true)
case "$1:$fate" in
migrate:hang) exec sleep 600;;
migrate:deaf) trap '' TERM INT HUP; while :; do sleep 1; done;;
migrate:fork) while :; do sleep 600 & done;;
migrate:fill) dd if=/dev/zero of="$WAYBILL_DATA/app/big" bs=1M count=64;;
migrate:loud) yes;;
esac
case "$1" in
dump) [ "$fate" != undumped ]; cat "$db";;
load) if [ "$2" = --scratch ]; then
        head -n 1 | grep -q '^schema '; [ "$fate" != untried ]
      else cat >"$db.new"; mv "$db.new" "$db"; fi;;
migrate) { echo "schema $2"; tail -n +2 "$db"; } >"$db.new"; mv "$db.new" "$db"; [ "$fate" != broken ];;
undo) [ "$fate" != stuck ]; { echo "schema $2"; tail -n +2 "$db"; } >"$db.new"; mv "$db.new" "$db";;
*) exit 64;;
esac
"""


def step(name: str, to: int, **change: object) -> Step:
    """A migration to schema ``to``, repeatable and with an undo unless changed."""
    given: dict[str, object] = {
        "name": name,
        "touches": ("database",),
        "do": ("admin", "migrate", str(to)),
        "undo": ("admin", "undo", str(to - 1)),
        "repeatable": True,
        "after_crash": "repeat",
        "takes_seconds": 1,
        **change,
    }
    return Step(**given)  # type: ignore[arg-type]  # by name


BACKUP = Backup(
    name="database",
    make=("admin", "dump"),
    restore=("admin", "load"),
    try_=("admin", "load", "--scratch"),
    at_most_bytes=1 << 20,
    takes_seconds=1,
)


@dataclass(frozen=True)
class Migrating(Vendor):
    """A vendor whose release brings ``steps`` and ``backups``; every field of the document can be changed."""

    steps: tuple[Step, ...] = ()
    backups: tuple[Backup, ...] = (BACKUP,)
    document: dict[str, object] = field(default_factory=dict)

    def rollback(self) -> Rollback:
        formats = Formats(reads=(1, 9), writes=1)
        given: dict[str, object] = {
            "back_to": self.needs_from,
            "class_": "reversible" if all(one.undo for one in self.steps) else "restore-only",
            "offered_for_seconds": 86400,
            "state": (StateFormats(name="database", before=formats, after=formats),),
            "backup": self.backups,
            "steps": self.steps,
            "loses": "what was written since",
            "recovery": {"rolled-back": ("Nothing to do.",), "inconsistent": ("Call somebody.",)},
            **self.document,
        }
        return Rollback(**given)  # type: ignore[arg-type]  # by name


def migrating(version: str, sequence: int, *steps: Step, trial: str = "probes", **change: object) -> Migrating:
    """A release with ``steps`` and its program; without an install step for them, which only the linter asks for."""
    program = r.Program(name="admin", files={this_platform(): Blob(digest=digest_of(ADMIN), size=len(ADMIN))})
    given: dict[str, object] = {
        "version": version,
        "sequence": sequence,
        "images": False,
        "service": {"hello.txt": version.encode()},
        "extra": {"admin": ADMIN},
        "steps": steps,
        "change": {
            "probes": (PROBE,),
            "programs": (program,),
            "extensions": {},
            "trial": r.Trial(at_most_seconds=600, confirm=trial),  # type: ignore[arg-type]  # one of the two words
        },
        **change,
    }
    return Migrating(**given)  # type: ignore[arg-type]  # by name


@dataclass
class FakePrograms(Programs):
    """Attributes: fails: parts, as ``act name``, that fail half done; did: all that were begun, in order."""

    fails: set[str] = field(default_factory=set)
    did: list[str] = field(default_factory=list)

    def check(self, site: Site, installed: Installed, document: Rollback) -> None:
        """Everything can be run here."""

    def perform(self, site: Site, installed: Installed, part: NextPart) -> BackupRecord | None:
        folder, disk = backup_folder(site.path, installed), site.disk
        match part:
            case MakeBackup(backup):
                self._begin("backup", backup.name)
                data = database(site.path).read_bytes()
                disk.make_folder(folder, 0o700)
                disk.write(folder / backup.name, data, 0o600)
                return BackupRecord(backup.name, digest_of(data), len(data), proof=_proof(backup, data))
            case TryRestore(backup, made):
                self._begin("try", backup.name)
                data = (folder / backup.name).read_bytes()
                # What was stated is known after a crash too, from the journal.
                assert (digest_of(data), _proof(backup, data)) == (made.digest, made.proof)
                return made if made.proof else None
            case Apply(one):
                self._change(site, "migrate", one.name, int(one.do[-1]))
            case Undo(one):
                assert one.undo is not None
                self._change(site, "undo", one.name, int(one.undo[-1]))
            case Restore(backup, made):
                self._begin("restore", backup.name)
                data = (folder / backup.name).read_bytes()
                assert digest_of(data) == made.digest
                disk.write(database(site.path), data)
                return replace(made, saved_bytes=size_of_folder(database(site.path).parent.parent))
            case _:
                raise AssertionError(part)
        return None

    def _begin(self, act: str, name: str) -> None:
        self.did.append(f"{act} {name}")
        if f"{act} {name}" in self.fails:
            raise HostError("as the test wants it", where="rollback.yaml", finding=f"{act}-failed")

    def _change(self, site: Site, act: str, name: str, to: int) -> None:
        """Two effects, so that a crash or a failure can fall between them and leave a mixture."""
        path = database(site.path)
        _, _, rest = path.read_bytes().partition(b"\n")
        site.disk.write(path, b"half of %d\n" % to + rest)
        self._begin(act, name)
        site.disk.write(path, b"schema %d\n" % to + rest)


def _proof(backup: Backup, data: bytes) -> BackupProof | None:
    return BackupProof(rows=data.count(b"\n")) if backup.proves else None


def database(site: Path) -> Path:
    return site / "data" / "app" / "db"


def put_database(site: Path, data: bytes = OLD) -> Path:
    path = database(site)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
