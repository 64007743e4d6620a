"""What a document says, who signed it, and what its signatures are judged by."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from manifests.documents.plan import Plan
from manifests.trust.envelope import Envelope
from manifests.words.errors import RefusedError, UsageError
from verifier.site.folder import Site
from verifier.trust.anchor import TrustAnchor

MAX_DOCUMENT = 16 << 20
Rows = Iterable[tuple[str, str]]


@dataclass(frozen=True)
class DocumentSummary:
    """What a document says, before its signatures are verified.

    Attributes:
        kind: Key in the registry, such as ``consignment``.
        rows: (name, value), or ("", line).
        signed_by: Key ids that its signatures claim.
        fingerprint: Fingerprint on the vendor's paper, of a root document only.
        names: The vendor's names of keys, by id, from the trust.yaml beside the document; nothing vouches for them.
    """

    kind: str
    title: str
    rows: tuple[tuple[str, str], ...]
    document: msgspec.Struct
    digest: str
    signed_by: tuple[str, ...] = ()
    fingerprint: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SignedBy:
    """Who signed a document. Attributes: by: in words; signers: key ids that were counted."""

    by: str
    signers: tuple[str, ...]
    practice: bool = False


@dataclass(frozen=True)
class DocumentJudge:
    """What signatures are judged by.

    Attributes:
        anchor: None if no trust anchor was named.
        site: The site that judges, if there is one.
        enrolment: File that names the key of a site's documents.
    """

    anchor: TrustAnchor | None = None
    site: Site | None = None
    enrolment: Path | None = None


class DocumentHead(msgspec.Struct):
    """The fields of a JSON file that name its kind."""

    payload_type: str = msgspec.field(name="payloadType", default="")
    media_type: str = msgspec.field(name="mediaType", default="")
    type: str | None = None


class StatementHead(msgspec.Struct):
    """The field of a statement that names its kind."""

    predicate_type: str = msgspec.field(name="predicateType", default="")


def require_anchor(judge: DocumentJudge, remedy: str) -> TrustAnchor:
    if judge.anchor is None:
        raise UsageError("no trust was named", where="trust", remedy=remedy)
    return judge.anchor


def check_meant_for(judge: DocumentJudge, ours: bool, others: str, where: str) -> None:
    if not ours and judge.site is not None:
        raise RefusedError(
            f"is for {others}, this is {judge.site.state.site}",
            where=where,
            remedy="run the command at that site, or with --root, which uses no site",
            finding="other-site",
        )


def claimed_signers(envelope: Envelope) -> tuple[str, ...]:
    return tuple(one.keyid for one in envelope.signatures)


def plan_rows(plan: Plan) -> Rows:
    kinds = f"kinds of change: {', '.join(plan.kinds)}" if plan.handler is None else f"handler {plan.handler}"
    rows = [
        ("does", f"{plan.action} at {plan.site}; {kinds}"),
        ("plan", plan.digest),
        ("policy", plan.policy),
    ]
    if plan.generation is not None:
        rows.append(("makes", f"generation {plan.generation}"))
    return [*rows, *(("release", one) for one in plan.releases)]
