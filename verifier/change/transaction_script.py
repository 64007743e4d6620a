"""The rollback document that governs the data of the last transaction, with what was done of it. Reads only."""

from collections.abc import Callable

from manifests.documents.rollback import Rollback
from verifier.change.recovery import RollbackScript
from verifier.change.release_papers import read_rollback
from verifier.site.folder import Site
from verifier.site.generations import Installed, read_installed, target_of
from verifier.site.journal.events import Planned
from verifier.site.journal.installs import State

# States in which the rollback document decides: before them its folder is not there, after them nothing is undecided.
SCRIPTED = (
    State.STAGED,
    State.BACKED_UP,
    State.MIGRATING,
    State.SWITCHED,
    State.PROBING,
    State.ROLLING_BACK,
    State.INCONSISTENT,
)


def document_owner(site: Site, planned: Planned) -> Installed:
    """Return the generation whose rollback document governs the data in this transaction."""
    known = site.state.installs.generation(planned.document)
    if planned.document == planned.target or known is None:
        return target_of(site, planned)
    return read_installed(site, known)


def script_of(site: Site, document: Callable[[], Rollback] | None = None) -> RollbackScript | None:
    """Return the rollback document with what was done of it; None while it decides nothing.

    Args:
        document: Returns the document when the caller has it already; by default it is read from the store.
    """
    transaction = site.state.installs.transaction
    if transaction is None or not transaction.planned.document or transaction.state not in SCRIPTED:
        return None
    return RollbackScript(
        document=document() if document else read_rollback(site, document_owner(site, transaction.planned).release),
        records=site.state.installs.part_history(transaction.planned.document),
        back=transaction.action == "rollback",
        fresh=transaction.planned.source == 0,
    )
