"""The value that describes a change, and the journal entry that begins it."""

from dataclasses import dataclass

from content.trust.head import VerifiedHead
from manifests.authored.site_yaml import Unfilled
from manifests.documents.authorisation import SignedAuthorisation
from manifests.documents.contract import Contract
from manifests.documents.plan import Plan
from manifests.documents.release import Release
from manifests.documents.rollback import Rollback
from manifests.words.errors import WaybillError
from verifier.change.item_ids import CONFIG
from verifier.site.generations import Installed
from verifier.site.journal.events import Action, Planned
from verifier.trust.findings import Finding


@dataclass(frozen=True)
class Change:
    """What one item would do at this site.

    Attributes:
        contract: The telemetry contract that will be in force.
        contract: Telemetry contract of the release; None for a rollback to one whose contract cannot be read.
        rollback: Rollback document of the release to install; for a rollback, of the running release, None when that
            cannot be read.
        head: Verified head of the release to install; None for a rollback.
        settings: ``site.yaml`` without its config, compiled; empty for a rollback.
        proposers: Accounts that received the release or own the file that proposes the change.
        source: Path of the bundle when it was received; empty without a bundle.
        more_leaves: Telemetry that leaves under the new settings and did not before, one line each.
        authorised: For a rollback below the floor, the vendor's authorisation.
        unfilled: Placeholders of ``site.yaml``. A change with one can be shown, and neither approved nor installed.
        wrong_config: Where the config of ``site.yaml`` does not fit the schema of the release; likewise.
    """

    item: str
    plan: Plan
    planned: Planned
    installed: Installed
    contract: Contract | None
    rollback: Rollback | None
    head: VerifiedHead | None = None
    settings: bytes = b""
    proposers: tuple[str, ...] = ()
    source: str = ""
    findings: tuple[Finding, ...] = ()
    more_leaves: tuple[str, ...] = ()
    authorised: SignedAuthorisation | None = None
    unfilled: tuple[Unfilled, ...] = ()
    wrong_config: tuple[WaybillError, ...] = ()

    @property
    def severities(self) -> tuple[str, ...]:
        """Severities of the advisories that the release fixes; none for a rollback."""
        return () if self.head is None else tuple(fix.severity for fix in self.release.fixes)

    @property
    def classes(self) -> tuple[str, ...]:
        """Rollback class of a new release; none for a new config or a rollback, to which no emergency rule applies."""
        return (self.rollback.class_,) if self.rollback and self.head is not None and self.item != CONFIG else ()

    @property
    def then(self) -> str:
        return f"rollback --to {self.target}" if self.action == "rollback" else f"install {self.item}"

    @property
    def first(self) -> bool:
        return self.action == "install" and self.planned.source == 0

    @property
    def release(self) -> Release:
        return self.installed.release

    @property
    def action(self) -> Action:
        return self.planned.action

    @property
    def target(self) -> int:
        return self.planned.target


def planned_by(
    plan: Plan, item: str, release: Release, source: int, *, document: int, authorisation: str | None = None
) -> Planned:
    """Return the journal entry that begins the transaction of ``plan``, which is about one generation of ``release``.

    Args:
        source: Number of the generation that runs now, 0 for none.
        document: Generation whose rollback document governs the data; 0 when no data change.
    """
    if plan.action not in ("install", "rollback") or None in (plan.generation, plan.settings, plan.contract):
        raise ValueError(f"plan of {plan.action} changes no generation")
    return Planned(
        action="rollback" if plan.action == "rollback" else "install",
        item=item,
        plan=plan.digest,
        source=source,
        target=plan.generation or 0,
        release=plan.releases[0],
        product=release.product,
        version=release.version,
        channel=release.channel,
        mark=release.mark,
        floor=release.floor,
        config=plan.config,
        config_version=release.config.version if release.config else None,
        settings=plan.settings or "",
        contract=plan.contract or "",
        policy=plan.policy,
        kinds=plan.kinds,
        document=document,
        authorisation=authorisation,
    )
