"""From the id of an item to what people are asked about it."""

from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from manifests.words.errors import WaybillError
from verifier.approval.export import export_item, export_request
from verifier.approval.policy_change import ITEM as POLICY
from verifier.approval.policy_change import PolicyChange, policy_change
from verifier.change.driver_steps import LoadDriver
from verifier.change.install_plan import driver_steps_for
from verifier.change.route import Route, plan_change, route_of
from verifier.change.values import CONFIG, Change
from verifier.rules.agreement import ApprovalRequest
from verifier.site.folder import POLICY_YAML, SITE_YAML, Site
from verifier.site.host import owner_of
from verifier.site.journal.events import Proposed
from verifier.site.proposals import read_policy_yaml, read_site_yaml
from verifier.site.vendor_access import check_served, offboard_plan

OFFBOARD = "offboard"
# Whatever people can be asked about at a site.
AnyItem = Change | Route | PolicyChange | ApprovalRequest


def approvable_of(site: Site, items: tuple[str, ...]) -> AnyItem:
    """What the item is; several releases are one plan.

    Raises:
        UsageError: There is no such item.
        WaybillError: It cannot be done here; the message says why.
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
    if not item.startswith("b-"):
        # A way back is the customer's own; everything else comes from a vendor.
        check_served(site.state)
    return plan_change(site, item)


def check_feasible(site: Site, asked: AnyItem, load: LoadDriver) -> None:
    """Raises RefusedError when this site lacks a driver that the item needs: nobody should agree to it in vain."""
    for change in asked.hops if isinstance(asked, Route) else (asked,) if isinstance(asked, Change) else ():
        driver_steps_for(site, change, load)


def offboard_request(site: Site) -> ApprovalRequest:
    """Whether the vendor's access ends, for the reason that was given; what is asked is the rule `offboard`."""
    return ApprovalRequest(item=OFFBOARD, plan=offboard_plan(site.state), then="offboard")


def record_proposals(site: Site) -> None:
    """Record, once, what ``site.yaml`` and ``policy.yaml`` propose and whose files they are; of a held site.

    From then on it is known since when the proposal waits and who brought it. A file that cannot be read proposes
    nothing.
    """
    try:
        _note(site, POLICY, digest_of(encode(read_policy_yaml(site.path))), in_force=site.state.trust.policy)
    except WaybillError:
        """`review` says what is wrong with it."""
    running = site.state.installs.running
    if running is None:
        return
    try:
        proposal = read_site_yaml(site.path)
    except WaybillError:
        return
    config = digest_of(proposal.config) if running.config is not None else None
    if (digest_of(proposal.settings), config) != (running.settings, running.config):
        _note(site, CONFIG, proposal.digest, in_force="")


def _note(site: Site, item: str, subject: str, *, in_force: str) -> None:
    known = next((one for one in site.state.trust.proposed if one.item == item), None)
    if subject == in_force or (known is not None and known.subject == subject):
        return
    name = POLICY_YAML if item == POLICY else SITE_YAML
    site.record(Proposed(item=item, subject=subject, account=owner_of(site.path / name)))
