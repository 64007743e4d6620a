"""A change and what it starts from."""

from dataclasses import dataclass

from content.trust.head import VerifiedHead
from manifests.documents.authorisation import SignedAuthorisation
from manifests.documents.contract import Contract
from manifests.documents.plan import Plan
from manifests.documents.release import Release
from manifests.documents.rollback import Rollback
from verifier.change.data_return import DataReturn
from verifier.rules.change_kinds import Before
from verifier.site.generations import Installed
from verifier.site.journal.events import Action, Planned
from verifier.trust.findings import Finding

CONFIG = "config"


@dataclass(frozen=True)
class Change:
    """An item, worked out.

    Attributes:
        target: The generation that it makes, or goes back to.
        head: Of the release, for an install.
        contract: The telemetry contract that will be in force.
        rollback: How the release can be left; of a rollback, how the running one is left.
        proposers: Accounts that received it or own the file that proposes it.
        source: Where its bytes were last seen.
        more_leaves: What leaves by the new settings and did not before, in words.
        back: Of a rollback, how the data go back; None of an install.
        authorised: Of a rollback below the floor, the vendor's permission.
    """

    item: str
    plan: Plan
    planned: Planned
    installed: Installed
    head: VerifiedHead | None
    settings: bytes
    contract: Contract
    rollback: Rollback
    proposers: tuple[str, ...]
    source: str
    findings: tuple[Finding, ...] = ()
    more_leaves: tuple[str, ...] = ()

    @property
    def severities(self) -> tuple[str, ...]:
        """Of what the release fixes; a rollback fixes nothing."""
        return () if self.head is None else tuple(one.severity for one in self.release.fixes)

    @property
    def classes(self) -> tuple[str, ...]:
        """How it can be left; nothing that an emergency rule could be about when it brings no new release."""
        return (self.rollback.class_,) if self.head is not None and self.item != CONFIG else ()

    @property
    def then(self) -> str:
        return f"rollback --to {self.target}" if self.action == "rollback" else f"install {self.item}"

    back: DataReturn | None = None
    authorised: SignedAuthorisation | None = None

    @property
    def release(self) -> Release:
        return self.installed.release

    @property
    def action(self) -> Action:
        return self.planned.action

    @property
    def target(self) -> int:
        return self.planned.target


@dataclass(frozen=True)
class Base:
    """What a change starts from: what runs, or what an earlier hop of the same route will have put there.

    Attributes:
        contract: Digest of the one in force; None before the first install.
        source, target: Numbers of the generation that is left, and of the one that is made.
    """

    before: Before | None
    contract: str | None
    channel: str
    source: int
    target: int
