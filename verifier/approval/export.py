"""Export of a report: the approvals that the policy's rule `export` needs, and the journal entry of the export.

With the rule `automatic`, everybody who may run the command may export a report. Otherwise people sign a plan that
names the report by its digest, at the export or before.
"""

from manifests.documents.plan import Plan
from manifests.trust.private_keys import Signer
from verifier.approval.verdicts import approval_status, record_verdict, sign_verdict
from verifier.rules.agreement import ApprovalRequest, require_approvals
from verifier.site.folder import Site
from verifier.site.journal.events import Note


def export_item(seq: int) -> str:
    return f"e-{seq}"


def export_plan(site: Site) -> Plan:
    """Return the plan to export the newest report. A later report has another plan."""
    state = site.state
    return Plan(
        site=state.site,
        site_key=state.site_key.keyid,
        action="export",
        last_change=state.last_change,
        policy=state.trust.policy,
        contract=state.installs.contract,
        subject=state.reports.head,
        kinds=("export",),
    )


def export_request(site: Site) -> ApprovalRequest:
    """Return the plan of ``export_plan`` as an item of the queue, so that people elsewhere can approve it before."""
    return ApprovalRequest(item=export_item(site.state.reports.seq), plan=export_plan(site), then="report --out MEDIA")


def record_export(site: Site, signers: tuple[Signer, ...], how: str) -> None:
    """Record the approvals of ``signers`` and the export of the newest report, at a locked site that has a report.

    Raises:
        WaitingError: More approvals are needed; those of ``signers`` are recorded.
        RefusedError: The policy does not list a key, or somebody with a veto rejected it.
    """
    if site.policy.rules["export"] or signers:
        question = export_request(site)
        for signer in signers:
            record_verdict(site, question.item, question.plan, sign_verdict(site, question.plan, signer))
        require_approvals(approval_status(site, question), question.item)
    # Recorded before the export: a report must never leave without a journal entry.
    where = how if how.isprintable() else "elsewhere"
    site.record(Note(code="exported", detail=f"reports up to {site.state.reports.seq} {where}"[:1000]))
