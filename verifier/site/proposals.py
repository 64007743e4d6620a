"""The proposals in the site's folder: ``site.yaml`` and ``policy.yaml`` as they are now."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

import msgspec

from manifests.authored.handwritten import Handwritten, read_handwritten
from manifests.authored.policy_yaml import compile_policy
from manifests.authored.site_yaml import SiteFile, Unfilled, site_problems, without_placeholders
from manifests.documents.policy import Policy
from manifests.trust.keys import read_public
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from manifests.words.errors import HostError, MalformedError, RefusedError, WaybillError
from verifier.site.folder import POLICY_YAML, SITE_YAML
from verifier.site.journal.state import SiteState
from verifier.site.unread import taken_in_before

_LOST_SITE_YAML = (
    "copy site.yaml from a backup of the site; without one, and once a release runs, `waybill recover` writes what is "
    "in force"
)
_LOST_POLICY_YAML = "copy policy.yaml from a backup of the site; the policy in force does not need the file"
_LOST_KEY = "copy the file of the public key from a backup of the site, or correct its path in policy.yaml"
Read = TypeVar("Read")
_CONFIG = msgspec.json.Encoder(order="sorted", decimal_format="number")
# Keywords whose message holds names of keys, and no values.
_NAMES_ONLY = frozenset({"required", "additionalProperties", "uniqueItems"})


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
    file = _read(folder / SITE_YAML, lambda path: read_handwritten(path, decimals_under="config"), _LOST_SITE_YAML)
    file, unfilled = without_placeholders(file)
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


def config_for(proposal: SiteProposal, schema: bytes | None) -> bytes | None:
    """Return the config document for a release with this schema, as it stands in the file; None without a schema."""
    return None if schema is None else proposal.config


def config_problems(
    proposal: SiteProposal, schema: bytes | None, what: str = "config schema"
) -> tuple[WaybillError, ...]:
    """Return where the config does not fit the schema, called ``what``; a secret value is not in the text.

    A config with placeholders is not checked: it does not fit before they are filled in.
    """
    if any(f"{unfilled.path}.".startswith("$.config.") for unfilled in proposal.unfilled):
        return ()
    if schema is None:
        problem = "the site has a config, and the release has no schema for it"
        remedy = "remove `config` from site.yaml; no program of this release would read it"
        return (_wrong_config(proposal, problem, "$.config", remedy),) if proposal.site.config else ()
    from content.differences.config import HIDDEN, hidden_by, leaves  # with the next two, only for a config to check
    from manifests.foreign.config_check import config_errors  # loads jsonschema
    from manifests.foreign.config_schema import read_config_schema

    instance = json.loads(proposal.config, parse_float=Decimal)
    try:
        with taken_in_before():
            errors = config_errors(read_config_schema(schema, what), instance, what)
    except MalformedError as failure:
        return (failure,)
    hidden, problems = hidden_by(schema), []
    for error in errors:
        below = leaves(json.loads(json.dumps(error.instance, default=str)), hidden, tuple(error.absolute_path))
        text = error.message if len(error.message) < 300 else error.message[:300] + "…"
        if error.validator not in _NAMES_ONLY and any(leaf.shown == HIDDEN for leaf in below.values()):
            text = f"does not fit `{error.validator}` of the schema (value not shown)"
        problem = f"{error.json_path[2:] or 'config'}: {text}"
        remedy = "correct `config` in site.yaml"
        problems.append(_wrong_config(proposal, problem, "$.config" + error.json_path[1:], remedy))
    return tuple(problems)


def _wrong_config(proposal: SiteProposal, problem: str, path: str, remedy: str) -> RefusedError:
    return RefusedError(problem, where=proposal.file.at(path), remedy=remedy, finding="config-invalid")


def read_policy_yaml(folder: Path) -> Policy:
    """Compile ``policy.yaml`` with the keys that it names. Raises MalformedError with ``file:line``."""
    file = _read(folder / POLICY_YAML, read_handwritten, _LOST_POLICY_YAML)
    return compile_policy(file, lambda path: _read(folder / path, read_public, _LOST_KEY))


def _read(path: Path, read: Callable[[Path], Read], remedy: str) -> Read:
    """Read a file that a person keeps. Raises HostError with the way back when it is lost."""
    if not path.exists():
        raise HostError("the file is missing", where=str(path), remedy=remedy, finding="file-missing")
    try:
        return read(path)
    except HostError as error:
        raise (error.with_(remedy=remedy) if os.access(path, os.R_OK) else error) from None
