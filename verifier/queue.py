"""What waits at a site: items with their ids, who is needed and who has agreed. Reads, writes nothing."""

from dataclasses import dataclass

from manifests.canonical import encode
from manifests.digest import digest_of
from manifests.errors import WaybillError
from verifier.change import CONFIG, Change, change_of, standing_of
from verifier.policy import RoleStanding
from verifier.proposals import read_policy_yaml, read_site_yaml, validate_config
from verifier.site import Site
from verifier.store import get_blob
from verifier.table import State

MAX_SCHEMA_BYTES = 1 << 20


@dataclass(frozen=True)
class Waiting:
    """One item.

    Attributes:
        kind: ``release``, ``config``, ``policy`` or ``rollback``.
        digest: Of the release, or of the proposal.
        since: When it came (RFC 3339); the journal's last word where a file was edited, which nobody timed.
        kinds, roles: Empty when it cannot be done here; ``problem`` then says why.
    """

    item: str
    kind: str
    digest: str
    version: str
    since: str
    kinds: tuple[str, ...] = ()
    roles: tuple[RoleStanding, ...] = ()
    met: bool = False
    problem: str = ""


def waiting_items(site: Site) -> tuple[Waiting, ...]:
    """Everything that could be approved or installed now, oldest first."""
    return (*_releases(site), *_config(site), *_policy(site), *_rollbacks(site))


def _releases(site: Site) -> list[Waiting]:
    state = site.state
    running = state.running
    newest = {one.item: one for one in state.releases}
    return [
        _weighed(site, one.item, "release", one.release, one.version, one.received_at)
        for one in newest.values()
        if running is None or (one.release != running.release and one.mark > running.mark)
    ]


def _config(site: Site) -> list[Waiting]:
    """A changed ``site.yaml``, once something is installed; before that it is part of the first install."""
    state = site.state
    running = state.running
    if running is None or state.open_transaction is not None:
        return []
    try:
        proposal = read_site_yaml(site.path)
        schema = _schema(site)
        config = validate_config(proposal, schema)
    except WaybillError as error:
        return [_broken(CONFIG, "config", state.last_at, error)]
    digest = None if config is None else digest_of(config)
    if digest == running.config and digest_of(proposal.settings) == running.settings:
        return []
    shown = digest_of(proposal.settings) if digest is None or digest == running.config else digest
    return [_weighed(site, CONFIG, "config", shown, running.version, state.last_at)]


def _schema(site: Site) -> bytes | None:
    from verifier.crew import installed_of

    running = site.state.running
    release = installed_of(site, running).release if running is not None else None
    if release is None or release.config is None:
        return None
    return get_blob(site.blobs, release.config.schema, MAX_SCHEMA_BYTES)


def _policy(site: Site) -> list[Waiting]:
    state = site.state
    try:
        proposed = read_policy_yaml(site.path)
    except WaybillError as error:
        return [_broken("policy", "policy", state.last_at, error)]
    digest = digest_of(encode(proposed))
    if digest == state.policy:
        return []
    problem = "policy.yaml differs from what is in force; this verifier does not judge a change of policy yet"
    return [Waiting("policy", "policy", digest, str(proposed.number), state.last_at, ("policy",), problem=problem)]


def _rollbacks(site: Site) -> list[Waiting]:
    """Ways back on which somebody has spoken; the others are not proposed to anybody."""
    state = site.state
    asked = sorted({said.item for said in state.verdicts if said.item.startswith("b-")})
    found = []
    for item in asked:
        generation = state.generation(int(item[2:]))
        if generation is None or generation.number == state.current or generation.state != State.SETTLED:
            continue
        said = next(one for one in state.verdicts if one.item == item)
        weighed = _weighed(site, item, "rollback", generation.release, generation.version, said.at)
        if any(one.have for one in weighed.roles):
            found.append(weighed)
    return found


def _weighed(site: Site, item: str, kind: str, digest: str, version: str, since: str) -> Waiting:
    try:
        change: Change = change_of(site, item)
        standing = standing_of(site, change)
    except WaybillError as error:
        return Waiting(item, kind, digest, version, since, problem=str(error))
    return Waiting(item, kind, digest, version, since, change.plan.kinds, standing.roles, standing.met)


def _broken(item: str, kind: str, since: str, error: WaybillError) -> Waiting:
    return Waiting(item, kind, "", "", since, problem=str(error))
