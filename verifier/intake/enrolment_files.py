"""The files that `enroll` writes for a person to edit: ``site.yaml`` for a release, and ``policy.yaml``."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from content.bundle.bulk import open_bundle
from content.bundle.places import find_places
from manifests.authored.site_yaml import FILL_IN
from manifests.documents.policy import KINDS
from manifests.documents.release import Release
from manifests.foreign.config_schema import MAX_SCHEMA, read_config_schema
from manifests.trust.root import Chain
from manifests.words.digest import NAME, digest_of

OPERATOR = "operator"
# The column in which comments begin.
COLUMN = 51


@dataclass(frozen=True)
class VendorOffer:
    """The root chain on a medium, verified by the typed fingerprint, and the channel to follow.

    Attributes:
        release: The verified release of a bundle; None where the medium has only root documents.
        required_config: Names that the release's config schema requires.
    """

    chain: Chain
    channel: str
    release: Release | None = None
    required_config: tuple[str, ...] = ()


@dataclass(frozen=True)
class NewPerson:
    """An approver of the first policy: the file of the public key, and the role."""

    key: Path
    role: str = OPERATOR


def read_required_config(bundle: Path, release: Release) -> tuple[str, ...]:
    """Return what the config schema in the bundle requires at its top; nothing where it cannot be read here.

    `receive` judges the whole bundle; a damaged one only has no placeholders.
    """
    if release.config is None or release.config.schema.size > MAX_SCHEMA or not bundle.is_file():
        return ()
    descriptor = open_bundle(bundle)
    try:
        wanted = release.config.schema
        for place in find_places(descriptor, release, str(bundle)).present:
            if place.blob.digest == wanted.digest:
                data = os.pread(descriptor, wanted.size, place.offset)
                if digest_of(data) != wanted.digest:
                    return ()
                required = read_config_schema(data, "config schema").get("required")
                names = required if isinstance(required, list) else []
                return tuple(name for name in names if isinstance(name, str) and NAME.fullmatch(name))
        return ()
    finally:
        os.close(descriptor)


def site_yaml(site: str, offer: VendorOffer, every: str) -> str:
    """Return ``site.yaml`` with a placeholder for each value that the release needs and only this site knows.

    A driver with placeholders is proposed as a comment: a site that writes the driver itself has it once.
    """
    endpoints, config = _endpoints(offer.release), dict.fromkeys(offer.required_config, "the config schema")
    lines = [
        "# site.yaml: settings of this site. The operator edits this file.",
        "# An edit is a proposal that `waybill review` shows. It takes effect with a new generation.",
    ]
    placeholders = bool(endpoints or config or proposed_drivers(offer.release))
    if placeholders and offer.release is not None:
        name = f"{offer.release.product} {offer.release.version}"
        lines.append(f"# Replace each {FILL_IN}: {name} needs it. `waybill check` says what is still missing.")
    if proposed_drivers(offer.release):
        lines.append("# Remove the # before each driver that is proposed below.")
    lines += [
        "waybill: 1",
        f"site: {site}",
        f'channel: "{offer.channel}"',
        _line("target: other", "aws | gcp | azure | kubernetes | vm | appliance | other"),
        "",
        _line("drivers:", "drivers that a release may use"),
        "  store: {}",
        *_drivers(offer.release),
        _line("  files: {root: srv}", "folder in the site, for versioned folders and one link"),
        "",
        _line(f"endpoints: {_flow(endpoints)}", "probes may open no other addresses; example:"),
        _line("", '{api: "http://127.0.0.1:8080"}'),
        *(_line("", f"{name}: for {why}") for name, why in endpoints.items()),
        "",
        _line(f"config: {_flow(config)}", "of the product; checked by the release's schema"),
        "",
        _line(f"report: {{every: {every}}}", "agreed interval; support sees an overdue report"),
        "keep: {generations: 3, backups: 30d, reserve: 16MiB}",
    ]
    return "\n".join(lines) + "\n"


def _line(text: str, comment: str) -> str:
    return f"{text}{' ' * max(1, COLUMN - len(text))}# {comment}"


def _flow(names: dict[str, str]) -> str:
    return "{" + ", ".join(f"{name}: {FILL_IN}" for name in names) + "}"


def _needs(release: Release | None, driver: str) -> bool:
    return release is not None and any(step.driver == driver for step in release.install)


def _needs_account(release: Release | None) -> bool:
    return release is not None and bool(release.programs or _needs(release, "program"))


def proposed_drivers(release: Release | None) -> tuple[str, ...]:
    """Return the settings of drivers that the release needs and only this site knows, such as ``registry.endpoint``."""
    needed = {"registry.endpoint": _needs(release, "registry"), "program.user": _needs_account(release)}
    return tuple(setting for setting, is_needed in needed.items() if is_needed)


def _drivers(release: Release | None) -> Iterator[str]:
    """Yield the proposal of each driver of the release that this site has to be told something about."""
    proposed = proposed_drivers(release)
    if "registry.endpoint" in proposed:
        yield _line(f"  # registry: {{endpoint: {FILL_IN}}}", "host:port of the site's registry; besides, if needed:")
        yield _line("", "prefix: team, plain_http: true, ca: tls/ca.pem,")
        yield _line("", 'login: {secret: "file:secrets/registry.json"}')
    if "program.user" in proposed:
        yield _line(f"  # program: {{user: {FILL_IN}}}", "account without rights, for programs of the release")


def _endpoints(release: Release | None) -> dict[str, str]:
    """Return the endpoints that the probes of the release ask, each with the name of the first such probe."""
    asked: dict[str, str] = {}
    for probe in release.probes if release is not None else ():
        if probe.http is not None:
            asked.setdefault(probe.http.endpoint, f"the probe {probe.name}, http://HOST:PORT")
        elif probe.tcp is not None:
            asked.setdefault(probe.tcp.endpoint, f"the probe {probe.name}, tcp://HOST:PORT")
    return asked


def policy_yaml(people: dict[str, NewPerson]) -> str:
    """Return ``policy.yaml``: each change needs one approval of every role that a person has."""
    roles = tuple(dict.fromkeys(person.role for person in people.values()))
    needs = ", ".join(f"{role}: 1" for role in roles)
    confirms = OPERATOR if OPERATOR in roles else roles[0]
    listed = "\n".join(
        f'  "{name}": {{role: {person.role}, keys: ["people/{name}.pub"]}}' for name, person in people.items()
    )
    rules = "\n".join(f"  {kind}: {{{needs}}}" for kind in KINDS if kind != "export")
    return f"""\
# policy.yaml: who at the customer approves what. The customer owns this file. It names no person of the vendor.
# An edit is a proposal. It takes effect when the people of the policy in force have approved it.
waybill: 1
policy: 1                                          # grows by one

people:                                            # approvals count people, not keys
{listed}

rules:                                             # a change of several kinds needs the highest number for each role
{rules}
  export: automatic                                # reports need no approval; or {{{needs}}}
veto: []
proposer_counts: true                              # who proposed a change can approve it

confirm: {{by: probes, or_person: {confirms}}}
time: warn                                         # warn | enforce | ignore: effect of a date in the past
windows: {{enforce: false}}
"""
