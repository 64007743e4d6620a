"""What a document says, who vouches for it, and what a judge of documents is given."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from manifests.documents import approval
from manifests.documents.plan import Plan
from manifests.trust.envelope import Envelope
from manifests.trust.root import Chain, Mark
from manifests.words.errors import RefusedError, UsageError
from verifier.site.folder import Site
from verifier.trust.anchor import TrustAnchor

MAX_DOCUMENT = 16 << 20
Rows = Iterable[tuple[str, str]]


@dataclass(frozen=True)
class DocumentSummary:
    """What a document says; nobody vouches for it yet.

    Attributes:
        kind: Such as ``consignment``.
        title: What it is, in one line.
        rows: (name, value), or ("", a line of its own).
        signed_by: Key ids that its signatures claim.
        fingerprint: Fingerprint on the vendor's paper, for a root document; None for another.
    """

    kind: str
    title: str
    rows: tuple[tuple[str, str], ...]
    document: msgspec.Struct
    digest: str
    signed_by: tuple[str, ...] = ()
    fingerprint: str | None = None


@dataclass(frozen=True)
class SignedBy:
    """Who vouches for a document. Attributes: by: in words; signers: key ids that were counted."""

    by: str
    signers: tuple[str, ...]
    practice: bool = False


@dataclass(frozen=True)
class DocumentJudge:
    """Everything that a judgement may rest on.

    Attributes:
        anchor: None if no trust was named.
        site: The site that judges; None away from one.
        enrolment: Of a site, for what its key signed.
    """

    anchor: TrustAnchor | None = None
    site: Site | None = None
    enrolment: Path | None = None


class DocumentHead(msgspec.Struct):
    """Just enough of a JSON file to know what it is."""

    payload_type: str = msgspec.field(name="payloadType", default="")
    media_type: str = msgspec.field(name="mediaType", default="")
    type: str | None = None


class StatementHead(msgspec.Struct):
    """Just enough of a statement to know what it is."""

    predicate_type: str = msgspec.field(name="predicateType", default="")


# --- together -------------------------------------------------------------------------------------------------------

VENDOR_REMEDY = "--root with the vendor's newest root document, or --site"
PEOPLE_REMEDY = "--site, whose policy in force says whose keys they are"


def require_anchor(judge: DocumentJudge, remedy: str) -> TrustAnchor:
    if judge.anchor is None:
        raise UsageError("no trust was named", where="trust", remedy=remedy)
    return judge.anchor


def signed_by_chain(chain: Chain, role: str, signers: tuple[str, ...]) -> SignedBy:
    root = chain.newest
    who = ", ".join(chain.who(keyid) for keyid in signers)
    practice = " (practice)" * root.practice
    by = f"signed by {who}, role {role} of root {root.version} of {root.vendor}{practice}"
    return SignedBy(by, signers, root.practice)


def check_meant_for(judge: DocumentJudge, ours: bool, others: str, where: str) -> None:
    if not ours and judge.site is not None:
        raise RefusedError(
            f"is for {others}, this is {judge.site.state.site}",
            where=where,
            remedy="look at it there, or with --root, which asks no site",
            finding="other-site",
        )


def claimed_signers(envelope: Envelope) -> tuple[str, ...]:
    return tuple(one.keyid for one in envelope.signatures)


def place_text(channel: str, mark: Mark) -> str:
    return f"{channel} {mark.sequence} of epoch {mark.epoch}"


def ordinal(epoch: int) -> str:
    return "first" if epoch == 1 else f"key number {epoch}"


def approval_rows(verdict: approval.Approval) -> Rows:
    rows = [("says", f"{verdict.verdict}, as {verdict.role}, by key {verdict.keyid}")]
    if verdict.condition is not None:
        rows.append(("condition", verdict.condition))
    if verdict.request is not None:
        rows.append(("request", verdict.request))
    return rows


def plan_rows(plan: Plan) -> Rows:
    rows = [
        ("does", f"{plan.action} at {plan.site}; kinds of change: {', '.join(plan.kinds)}"),
        ("plan", plan.digest),
        ("policy", plan.policy),
    ]
    if plan.generation is not None:
        rows.append(("makes", f"generation {plan.generation}"))
    return [*rows, *(("release", one) for one in plan.releases)]
