"""A checkpoint: the state as of one entry of the journal, so that `waybill status` need not fold a long journal.

It is no part of the journal and may be deleted at any time. A command that holds the site folds the whole journal and
replaces a checkpoint that differs, so nothing that changes a site depends on one. See docs/threats.md.
"""

import hashlib
from contextlib import suppress
from pathlib import Path

from manifests.trust.keys import read_capped
from manifests.words.canonical import Document, LineReader, encode
from manifests.words.digest import Digest, digest_of
from manifests.words.errors import WaybillError, unreadable
from verifier.site.disk import Disk
from verifier.site.journal.state import SiteState
from verifier.trust.findings import VERIFIER_VERSION

NAME = "checkpoint"
# A journal shorter than this has none, and one that is behind by fewer entries is not replaced.
EVERY = 1000
# A larger state is folded each time.
MAX_CHECKPOINT = 8 << 20
MAX_LINE = 64 << 10
SEGMENT = 1 << 20
MAX_SEGMENT = SEGMENT + MAX_LINE
# Raised with each change of the fold or of the state, so that what another program computed is not used.
FOLD = 6


class Checkpoint(Document, frozen=True, kw_only=True):
    """The second line of the file; the first is its digest. ``state`` names its entry by number and digest.

    Attributes:
        lines: Digest over all lines of the journal up to that entry, whose chain was checked then.
    """

    verifier: str
    fold: int
    lines: Digest
    state: SiteState


_READER = LineReader(Checkpoint, max_bytes=MAX_CHECKPOINT)


def read_checkpoint(folder: Path) -> Checkpoint | None:
    """Return a whole checkpoint of this verifier; None without one. The caller compares it with the journal."""
    path = folder / NAME
    try:
        data = read_capped(path, MAX_CHECKPOINT) if path.is_file() else b""
    except (WaybillError, OSError):
        return None
    digest, _, line = data.partition(b"\n")
    if digest.decode("latin-1") != digest_of(line):
        return None
    checkpoint = _READER.read(line)
    if checkpoint is None or (checkpoint.verifier, checkpoint.fold) != (VERIFIER_VERSION, FOLD):
        return None
    return checkpoint


def segments(folder: Path) -> list[Path]:
    """Return the segment files of the journal, oldest first; each is named by the number of its first entry."""
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".jsonl")
    except OSError as error:
        remedy = "check the owner and the mode of the folder"
        raise unreadable(error, str(folder), remedy=remedy, finding="journal-unreadable") from None


def digest_of_lines(folder: Path, count: int) -> str:
    """Return the digest over the first ``count`` lines of the journal, or over all that it has."""
    hashed = hashlib.sha256()
    for segment in segments(folder):
        lines = read_capped(segment, MAX_SEGMENT).split(b"\n")[:-1][:count]
        hashed.update(b"".join(line + b"\n" for line in lines))
        count -= len(lines)
    return "sha256:" + hashed.hexdigest()


def write_checkpoint(folder: Path, disk: Disk, state: SiteState) -> None:
    """Replace the checkpoint. A disk that is full or fails is no error: without a checkpoint everything works."""
    lines = digest_of_lines(folder, state.seq)
    line = encode(Checkpoint(verifier=VERIFIER_VERSION, fold=FOLD, lines=lines, state=state))
    data = digest_of(line).encode() + b"\n" + line
    if len(data) > MAX_CHECKPOINT:
        return
    path = folder / NAME
    try:
        disk.write(path, data)
    except OSError:
        with suppress(OSError):
            disk.remove(path.with_name(f".{NAME}.new"))
