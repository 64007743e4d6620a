"""Who must agree to a plan, who has, under which condition, and who is missing: one section, the same everywhere."""

from manifests.units import show_uses
from verifier.paper import Row, Section, Table, section_text
from verifier.policy import OTHERS, Asked, Standing, named


def agreement_section(asked: Asked, standing: Standing, folder: str = "") -> Section:
    """Ends with what to do next. Args: folder: The request folder, which `approve` is given instead."""
    lines = [f"policy rules: {', '.join(asked.plan.kinds)}"]
    rows = tuple(Row((one.role, one.counted, ", ".join(one.people))) for one in standing.roles)
    after = [f"{person}, on condition: {words}" for person, words in standing.conditions]
    if standing.not_counted:
        after.append(f"not counted, because they brought it: {', '.join(standing.not_counted)}")
    if standing.rejected:
        after.append(f"rejected by: {', '.join(standing.rejected)}")
    for void in standing.void:
        word = "approval" if void.verdict == "approve" else "rejection"
        after.append(f"void: {word} of {void.person}, {void.why} ({void.finding})")
    after.append(f"plan {asked.plan.digest}")
    if standing.vetoed:
        after.append("rejected; nothing will be done")
    elif standing.met:
        after.append(f"agreed: waybill {asked.then}")
    elif not standing.possible:
        after.append(f"waits for {standing.missing}, and nobody is left who could: {OTHERS}")
    else:
        # At the site the item may become another plan before somebody signs; a request folder stays what it is.
        what = folder or f"{named(asked)} --plan {asked.plan.digest}"
        after.append(f"waits for {standing.missing}: waybill approve {what} --key KEY")
    for one in standing.emergency:
        roles = ", ".join(f"{role.role} {role.counted}" for role in one.roles)
        how = f": waybill {asked.then} --emergency {one.rule}" if one.met else ""
        after.append(f"or by the emergency rule {one.rule} ({show_uses(one.uses_left)} left): {roles}{how}")
    return Section("who must agree", tuple(lines), table=Table(("role", "agreed", "who"), rows), after=tuple(after))


def agreement_text(asked: Asked, standing: Standing) -> str:
    return "\n".join(section_text(agreement_section(asked, standing)))
