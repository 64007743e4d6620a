"""Which kept generations a rollback reaches, and why it does not reach the others. Reads only."""

from functools import partial

from manifests.words.errors import WaybillError
from verifier.change.clearing import WORKED
from verifier.change.rollback_plan import rollback_change
from verifier.site.folder import Site
from verifier.site.journal.installs import Generation
from verifier.site.releases import revoked_release
from verifier.site.unread import attempt


def rollbacks_text(site: Site) -> str:
    """Return which rollbacks are possible without the vendor, the newest generation first; or that none is, and why."""
    possible, reasons = rollbacks_alone(site)
    if not possible:
        return f"no rollback is possible: {reasons}"
    names = ", ".join(f"generation {generation.number} ({generation.version})" for generation in possible)
    return f"rollback is possible to {names}"


def rollbacks_alone(site: Site) -> tuple[tuple[Generation, ...], str]:
    """Return the kept generations that a rollback reaches without an authorisation of the vendor; and why not others.

    The newest comes first. At a site whose vendor's access has ended, no other rollback is possible.
    """
    possible, reasons = [], []
    for generation in kept_generations(site, site.state.installs.current):
        failures: list[WaybillError] = []
        change = attempt(partial(rollback_change, site, generation.number), failures)
        if change is not None and change.authorised is None:
            possible.append(generation)
            continue
        why = failures[0].problem if failures else "below the floor, which takes an authorisation of the vendor"
        reasons.append(f"generation {generation.number} ({generation.version}): {why}")
    return tuple(possible), "; ".join(reasons) or "no earlier generation is kept"


def reachable_generation(site: Site) -> tuple[Generation | None, str]:
    """Return the newest kept generation that a rollback could reach at present; else None and why none could.

    A rollback to a revoked release is possible, but is never advised, so it does not count.
    """
    reasons = []
    for generation in kept_generations(site, site.state.installs.current):
        why = attempt(partial(revoked_release, site, generation.release), [])
        try:
            rollback_change(site, generation.number)
        except WaybillError as error:
            why = error.problem
        if why is None:
            return generation, ""
        reasons.append(f"generation {generation.number} ({generation.version}): {why}")
    return None, "; ".join(reasons) or "no earlier generation is kept"


def kept_generations(site: Site, but: int) -> list[Generation]:
    """Return the generations that worked and are on disk, the newest first."""
    return [
        generation
        for generation in reversed(site.state.installs.generations)
        if generation.number != but
        and generation.state in WORKED
        and site.generation_folder(generation.number).is_dir()
    ]
