"""What the programs of a backup state about it: how many rows, or a digest. Both programs must state the same."""

from manifests.words.canonical import Document, decode
from manifests.words.digest import Count, Digest
from manifests.words.errors import MalformedError
from manifests.words.text import short_digest
from manifests.words.units import show_count

MAX_PROOF = 1 << 10


class BackupProof(Document, frozen=True, kw_only=True):
    """The statement; it has the one field that ``proves`` of the backup names.

    Attributes:
        rows: Of whatever the program counts: rows, records, files.
        digest: Over what the program chooses, the same bytes for the data and for a backup of them.
    """

    rows: Count | None = None
    digest: Digest | None = None

    @property
    def words(self) -> str:
        return f"digest {short_digest(self.digest)}" if self.digest else show_count(self.rows or 0, "row")


def parse_proof(data: bytes, proves: str, what: str) -> BackupProof:
    """Read what a program wrote, in any spelling of JSON. Raises MalformedError unless it states ``proves`` alone."""
    if len(data) > MAX_PROOF:  # F-12.4
        raise MalformedError(f"the statement has more than {MAX_PROOF} bytes", where=what)
    proof = decode(data, BackupProof, what)
    stated = [name for name in proof.__struct_fields__ if getattr(proof, name) is not None]
    if stated != [proves]:  # F-12.4
        raise MalformedError(f"it states {' and '.join(stated) or 'nothing'}, expected {proves}", where=what)
    return proof
