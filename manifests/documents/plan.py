"""The plan: what an install or a rollback would do, reduced to what people approve."""

from typing import Annotated, Literal

from msgspec import Meta

from manifests.documents.policy import ChangeRule
from manifests.words.canonical import Document, encode, parse
from manifests.words.digest import Digest, KeyId, Name, Positive, SiteId, digest_of

PLAN_TYPE = "application/vnd.waybill.plan.v1+json"
MAX_PLAN = 256 << 10


class Plan(Document, frozen=True, kw_only=True, tag_field="type", tag=PLAN_TYPE):
    """What people sign.

    Attributes:
        site_key: Key id of the site, so that a new site under an old name is another site.
        generation: Of an install, the number that it will create, never used again; of a rollback, its target.
        last_change: Digest of the journal entry that last switched a generation or put a policy, root or revocation
            list in force.
        releases: In the order in which they are installed; the last one is to run.
        config: Digest of the validated config document; ``settings``: of what else ``site.yaml`` says.
        policy: Digest of the policy in force, by which the approvals will be counted.
        contract: Digest of the telemetry contract that will be in force.
        subject: What the plan is about when that is no release: a policy, an export, an offboarding, the use of a
            handler. Of a rollback below the floor, the vendor's authorisation; of the end of a trial, the plan on
            trial; of a time, its text.
        handler: Of a plan to run a handler, its name, by which the policy's ``commands`` say who must approve.
        kinds: What it changes, sorted; empty for the end of a trial and for a time, which need one person's approval,
            and for a handler.
    """

    site: SiteId
    site_key: KeyId
    action: Literal["install", "rollback", "confirm", "time", "policy", "export", "offboard", "run"]
    generation: Positive | None = None
    last_change: Digest
    releases: Annotated[tuple[Digest, ...], Meta(max_length=64)] = ()
    config: Digest | None = None
    settings: Digest | None = None
    policy: Digest
    contract: Digest | None = None
    subject: Digest | None = None
    handler: Name | None = None
    kinds: Annotated[tuple[ChangeRule, ...], Meta(max_length=16)] = ()

    def __post_init__(self) -> None:
        if bool(self.kinds) == (self.action in ("confirm", "time", "run")):
            raise ValueError("the kinds of a change, and of nothing else, are named")
        if (self.handler is not None) != (self.action == "run"):
            raise ValueError("the handler of a plan to run one, and of nothing else, is named")

    @property
    def digest(self) -> str:
        return digest_of(encode(self))


def parse_plan(data: bytes, what: str = "plan") -> Plan:
    """Read a plan. Raises MalformedError."""
    return parse(data, Plan, what, max_bytes=MAX_PLAN)
