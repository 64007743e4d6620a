"""Letting a report leave: what the policy's rule `export` asks, and the journal's note of what left and how.

The rule `automatic` means that whoever may run the verb may carry a report out. Otherwise each person who is asked
signs at the moment of leaving, with the key that the policy lists; the plan they sign names the report by its digest.
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
    """What is agreed to: that the newest report leaves. A later report is another plan."""
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
    """The plan of ``export_plan`` as an item of the queue, so that people elsewhere can agree to it beforehand."""
    return ApprovalRequest(item=export_item(site.state.reports.seq), plan=export_plan(site), then="report --out MEDIA")


def record_export(site: Site, signers: tuple[Signer, ...], how: str) -> None:
    """Record the agreement of ``signers`` and that the newest report leaves; of a held site that has a report.

    Raises:
        WaitingError: The policy asks for more people; those who signed are recorded.
        RefusedError: A key is nobody's, or somebody who may do so said no.
    """
    if site.policy.rules["export"] or signers:
        question = export_request(site)
        for signer in signers:
            record_verdict(site, question.item, question.plan, sign_verdict(site, question.plan, signer))
        require_approvals(approval_status(site, question), question.item)
    # Before it leaves: what left and is not in the journal would be worse than what is in the journal and did not.
    where = how if how.isprintable() else "elsewhere"
    site.record(Note(code="exported", detail=f"reports up to {site.state.reports.seq} {where}"[:1000]))
