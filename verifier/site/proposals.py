"""The proposals in the site's folder: ``site.yaml`` and ``policy.yaml`` as they are now."""

import json
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import msgspec

from manifests.authored.handwritten import Handwritten, read_handwritten
from manifests.authored.policy_yaml import compile_policy
from manifests.authored.site_yaml import SiteFile, Unfilled, site_problems, without_placeholders
from manifests.documents.policy import Policy
from manifests.foreign.config_schema import read_config_schema
from manifests.trust.keys import read_public
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from manifests.words.errors import HostError, RefusedError
from verifier.site.folder import POLICY_YAML, SITE_YAML
from verifier.site.journal.state import SiteState

_LOST_SITE_YAML = (
    "copy site.yaml from a backup of the site; without one, and once a release runs, `waybill recover` writes what is "
    "in force"
)
_LOST_POLICY_YAML = "copy policy.yaml from a backup of the site; the policy in force does not need the file"
_LOST_KEY = "copy the file of the public key from a backup of the site, or correct its path in policy.yaml"
_CONFIG = msgspec.json.Encoder(order="sorted", decimal_format="number")


@dataclass(frozen=True)
class SiteProposal:
    """``site.yaml``; ``config``: canonical bytes of that field; ``settings``: canonical bytes of all the others.

    Attributes:
        unfilled: Placeholders that are still in the file; they are left out of everything else.
    """

    file: Handwritten
    site: SiteFile
    settings: bytes
    config: bytes
    unfilled: tuple[Unfilled, ...] = ()

    @property
    def digest(self) -> str:
        """Identifies the proposal. Never leaves the site, because it could confirm a guess of the config."""
        return digest_of(self.settings + b"\0" + self.config)


def read_site_yaml(folder: Path) -> SiteProposal:
    """Read ``site.yaml``. Raises MalformedError with ``file:line`` for the first problem."""
    path = _present(folder / SITE_YAML, _LOST_SITE_YAML)
    file, unfilled = without_placeholders(read_handwritten(path, decimals_under="config"))
    site = file.to(SiteFile)
    for problem in site_problems(file, site):
        raise problem
    without = msgspec.structs.replace(site, config={})
    return SiteProposal(
        file=file, site=site, settings=encode(without), config=_CONFIG.encode(site.config), unfilled=unfilled
    )


def check_identity(proposal: SiteProposal, state: SiteState, channel: str) -> None:
    """Raise RefusedError when ``site.yaml`` names another site, or another channel than the release's."""
    if proposal.site.site != state.site:
        raise RefusedError(
            f"the file says site {proposal.site.site}, this site is enrolled as {state.site}",
            where=proposal.file.at("$.site"),
            remedy=f"write {state.site}; for another name, enroll another site",
            finding="site-name",
        )
    wanted = proposal.site.channel
    if wanted != channel:
        raise RefusedError(
            f"the file says channel {wanted}, the release is of channel {channel}",
            where=proposal.file.at("$.channel"),
            remedy=f"write {channel}, or receive a release of channel {wanted}, which changes the channel",
            finding="channel-waits",
        )


def validate_config(proposal: SiteProposal, schema: bytes | None, what: str = "config schema") -> bytes | None:
    """Return the config document for a release with this schema, called ``what``; None for a release without one.

    Raises:
        RefusedError: The config does not fit the schema, or there is no schema for it.
    """
    if schema is None:
        if proposal.site.config:
            raise RefusedError(
                "the site has a config, and the release has no schema for it",
                where=proposal.file.at("$.config"),
                remedy="remove `config` from site.yaml; no program of this release would read it",
                finding="config-invalid",
            )
        return None
    from manifests.foreign.config_check import config_errors  # loads jsonschema

    instance = json.loads(proposal.config, parse_float=Decimal)
    errors = config_errors(read_config_schema(schema, what), instance, what)
    if errors:
        first = errors[0]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        message = first.message if len(first.message) < 300 else first.message[:300] + "…"
        raise RefusedError(
            f"{first.json_path[2:] or 'config'}: {message}{more}",
            where=proposal.file.at("$.config" + first.json_path[1:]),
            remedy="correct `config` in site.yaml; nothing was changed",
            finding="config-invalid",
        )
    return proposal.config


def read_policy_yaml(folder: Path) -> Policy:
    """Compile ``policy.yaml`` with the keys that it names. Raises MalformedError with ``file:line``."""
    file = read_handwritten(_present(folder / POLICY_YAML, _LOST_POLICY_YAML))
    return compile_policy(file, lambda path: read_public(_present(folder / path, _LOST_KEY)))


def _present(path: Path, remedy: str) -> Path:
    """Return the path of a file that a person keeps. Raises HostError with the way back when it is missing."""
    if not path.exists():
        raise HostError("the file is missing", where=str(path), remedy=remedy, finding="file-missing")
    return path
