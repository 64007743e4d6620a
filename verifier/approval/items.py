"""Items by id: the plan of each, and who proposed it. The export of a report is such an item.

With the rule `export: automatic` everybody who may run the command may export. Otherwise people sign a plan that names
the newest report by its digest, at the export or before.
"""

from contextlib import suppress

from manifests.trust.private_keys import Signer
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from manifests.words.errors import WaybillError
from verifier.approval.policy_change import policy_change
from verifier.approval.verdicts import approval_status, record_verdict, rule_plan, sign_verdict
from verifier.change.driver_steps import LoadDriver, driver_steps
from verifier.change.handlers import is_use, use_request
from verifier.change.item_ids import CONFIG, OFFBOARD, POLICY, export_item
from verifier.change.route import Route, plan_change, route_of
from verifier.change.values import Change
from verifier.rules.agreement import ApprovalRequest, require_approvals
from verifier.site.folder import POLICY_YAML, SITE_YAML, Site
from verifier.site.host import owner_of
from verifier.site.journal.events import Note, Proposed
from verifier.site.proposals import read_policy_yaml, read_site_yaml
from verifier.site.vendor_access import check_served, offboard_plan

# Everything that people can approve at a site.
AnyItem = Change | Route | ApprovalRequest


def approvable_of(site: Site, items: tuple[str, ...]) -> AnyItem:
    """Return the item with its plan; several releases are one plan. Reads only.

    Raises:
        UsageError: There is no such item.
        WaybillError: The item cannot be carried out at this site.
    """
    if len(items) != 1:
        check_served(site.state)
        return route_of(site, items)
    (item,) = items
    if item == POLICY:
        return policy_change(site)
    if item == OFFBOARD:
        return offboard_request(site)
    if item == export_item(site.state.reports.seq) and site.state.reports.head is not None:
        return export_request(site)
    if is_use(item):
        return use_request(site, item)
    if not item.startswith("b-"):
        # A rollback needs nothing from the vendor, so it stays possible after the vendor's access has ended.
        check_served(site.state)
    return plan_change(site, item)


def check_feasible(site: Site, asked: AnyItem, load: LoadDriver) -> None:
    """Raise when ``site.yaml`` is not complete for the item, or this site lacks a driver that the item needs."""
    check_filled(asked)
    for change in hops_of(asked):
        driver_steps(site, change.installed, load)


def hops_of(asked: AnyItem) -> tuple[Change, ...]:
    """Return the changes that the item makes, in order; none for an item that installs nothing."""
    return asked.hops if isinstance(asked, Route) else (asked,) if isinstance(asked, Change) else ()


def check_filled(asked: AnyItem) -> None:
    """Raise when ``site.yaml`` has placeholders or its config does not fit: what is to be agreed is not yet known."""
    for change in hops_of(asked):
        errors = [*(unfilled.error for unfilled in change.unfilled), *change.wrong_config]
        if errors:
            more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
            raise errors[0].with_(problem=errors[0].problem + more)


def offboard_request(site: Site) -> ApprovalRequest:
    """Return the request to end the vendor's access."""
    return ApprovalRequest(OFFBOARD, offboard_plan(site.state), "offboard")


def record_proposals(site: Site) -> None:
    """Record each new content of ``site.yaml`` and ``policy.yaml`` with the owner of the file, at a locked site."""
    with suppress(WaybillError):  # `review` reports the error
        _record_proposal(site, POLICY, digest_of(encode(read_policy_yaml(site.path))), in_force=site.state.trust.policy)
    running = site.state.installs.running
    if running is None:
        return
    try:
        proposal = read_site_yaml(site.path)
    except WaybillError:
        return
    config = digest_of(proposal.config) if running.config is not None else None
    if (digest_of(proposal.settings), config) != (running.settings, running.config):
        _record_proposal(site, CONFIG, proposal.digest, in_force="")


def _record_proposal(site: Site, item: str, subject: str, *, in_force: str) -> None:
    known = next((proposal for proposal in site.state.trust.proposed if proposal.item == item), None)
    if subject == in_force or (known is not None and known.subject == subject):
        return
    name = POLICY_YAML if item == POLICY else SITE_YAML
    site.record(Proposed(item=item, subject=subject, account=owner_of(site.path / name)))


def export_request(site: Site) -> ApprovalRequest:
    """Return the request to export the newest report. A later report has another plan."""
    reports = site.state.reports
    return ApprovalRequest(export_item(reports.seq), rule_plan(site, "export", reports.head), "report --out MEDIUM")


def record_export(site: Site, signers: tuple[Signer, ...], how: str) -> None:
    """Record the approvals of ``signers`` and the export of the newest report, at a locked site that has a report.

    Raises:
        WaitingError: More approvals are needed; those of ``signers`` are recorded.
        RefusedError: The policy does not list a key, or somebody with a veto rejected it.
    """
    if site.policy.rules["export"] or signers:
        request = export_request(site)
        for signer in signers:
            record_verdict(site, request.item, request.plan, sign_verdict(site.policy, request.plan, signer))
        require_approvals(approval_status(site, request), request.item)
    # Recorded before the export: a report must never leave without a journal entry.
    where = how if how.isprintable() else "elsewhere"
    site.record(Note(code="exported", detail=f"reports up to {site.state.reports.seq} {where}"[:1000]))
