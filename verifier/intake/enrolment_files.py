"""The files that `enroll` writes for a person to edit: ``site.yaml`` for a release, and ``policy.yaml``."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from content.bundle.bulk import open_bundle
from content.bundle.places import find_places
from manifests.authored.site_yaml import FILL_IN
from manifests.documents.contract import MAX_CONTRACT, Contract, parse_contract
from manifests.documents.contract_endpoints import address_forms, contract_endpoints
from manifests.documents.policy import KINDS
from manifests.documents.release import Release
from manifests.foreign.config_schema import MAX_SCHEMA, Json, read_config_schema
from manifests.trust.root import Chain
from manifests.words.digest import NAME, Blob, digest_of
from manifests.words.errors import MalformedError

OPERATOR = "operator"
NO_ANSWERS: Mapping[str, str] = MappingProxyType({})
# The column in which comments begin.
COLUMN = 51


@dataclass(frozen=True)
class VendorOffer:
    """The root chain on a medium, verified by the typed fingerprint, and the channel to follow.

    Attributes:
        release: The verified release of a bundle; None where the medium has only root documents.
        contract: Its telemetry contract; None where it cannot be read here.
        schema: The config schema of the release; None without one, or where it cannot be read here.
    """

    chain: Chain
    channel: str
    release: Release | None = None
    schema: Mapping[str, Json] | None = None
    contract: Contract | None = None

    @property
    def required_config(self) -> tuple[str, ...]:
        """Names that the config schema requires at its top."""
        required = self.schema.get("required") if self.schema is not None else None
        names = required if isinstance(required, list) else []
        return tuple(name for name in names if isinstance(name, str) and NAME.fullmatch(name))


@dataclass(frozen=True)
class NewPerson:
    """An approver of the first policy: the file of the public key, and the role."""

    key: Path
    role: str = OPERATOR


def read_offered_schema(bundle: Path, release: Release) -> Mapping[str, Json] | None:
    """Return the config schema in the bundle; None where it cannot be read here."""
    schema = None if release.config is None else _read_blob(bundle, release, release.config.schema, MAX_SCHEMA)
    return None if schema is None else read_config_schema(schema, "config schema")


def read_offered_contract(bundle: Path, release: Release) -> Contract | None:
    """Return the telemetry contract in the bundle; None where it cannot be read here."""
    data = _read_blob(bundle, release, release.contract, MAX_CONTRACT)
    try:
        return None if data is None else parse_contract(data)
    except MalformedError:
        return None


def _read_blob(bundle: Path, release: Release, wanted: Blob, max_bytes: int) -> bytes | None:
    """Return a blob of the bundle. `receive` judges the whole bundle; a damaged one only has no placeholders."""
    if wanted.size > max_bytes or not bundle.is_file():
        return None
    descriptor = open_bundle(bundle)
    try:
        for place in find_places(descriptor, release, str(bundle)).present:
            if place.blob.digest == wanted.digest:
                data = os.pread(descriptor, wanted.size, place.offset)
                return data if digest_of(data) == wanted.digest else None
        return None
    finally:
        os.close(descriptor)


def site_yaml(site: str, offer: VendorOffer, every: str, answers: Mapping[str, str] = NO_ANSWERS) -> str:
    """Return ``site.yaml`` with a placeholder for each value that the release needs and only this site knows.

    A driver with placeholders is proposed as a comment: a site that writes the driver itself has it once.

    Args:
        answers: Values that are known already, as they are written, by key such as ``registry.endpoint``.
    """
    endpoints, config = asked_endpoints(offer), offer.required_config
    drivers = proposed_drivers(offer.release)
    wanted = (*drivers, *(f"endpoints.{name}" for name in endpoints), *(f"config.{name}" for name in config))
    lines = [
        "# site.yaml: settings of this site. The operator edits this file.",
        "# An edit is a proposal that `waybill review` shows. It takes effect with a new generation.",
    ]
    if set(wanted) - answers.keys() and offer.release is not None:
        name = f"{offer.release.product} {offer.release.version}"
        lines.append(f"# Replace each {FILL_IN}: {name} needs it. `waybill check` says what is still missing.")
    if set(drivers) - answers.keys():
        lines.append("# Remove the # before each driver that is proposed below.")
    lines += [
        "waybill: 1",
        f"site: {site}",
        f'channel: "{offer.channel}"',
        _line("target: other", "aws | gcp | azure | kubernetes | vm | appliance | other"),
        "",
        _line("drivers:", "drivers that a release may use"),
        "  store: {}",
        *_drivers(offer.release, answers),
        _line("  files: {root: srv}", "folder in the site, for versioned folders and one link"),
        "",
        _line(f"endpoints: {_flow('endpoints', endpoints, answers)}", "probes and collectors open no others; example:"),
        _line("", '{api: "http://127.0.0.1:8080"}'),
        *(_line("", f"{name}: for {why}") for name, why in endpoints.items()),
        "",
        _line(f"config: {_flow('config', config, answers)}", "of the product; checked by the release's schema"),
        "",
        _line(f"report: {{every: {every}}}", "agreed interval; support sees an overdue report"),
        "keep: {generations: 3, backups: 30d, reserve: 16MiB}",
    ]
    return "\n".join(lines) + "\n"


def _line(text: str, comment: str) -> str:
    return f"{text}{' ' * max(1, COLUMN - len(text))}# {comment}"


def _flow(part: str, names: Iterable[str], answers: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{name}: {answers.get(f'{part}.{name}', FILL_IN)}" for name in names) + "}"


def _needs(release: Release | None, driver: str) -> bool:
    return release is not None and any(step.driver == driver for step in release.install)


def _needs_account(release: Release | None) -> bool:
    return release is not None and bool(release.programs or _needs(release, "program"))


def proposed_drivers(release: Release | None) -> tuple[str, ...]:
    """Return the settings of drivers that the release needs and only this site knows, such as ``registry.endpoint``."""
    charts = _needs(release, "helm")
    needed = {
        "registry.endpoint": charts or _needs(release, "registry"),
        "helm.namespace": charts,
        "program.user": _needs_account(release),
    }
    return tuple(setting for setting, is_needed in needed.items() if is_needed)


def _drivers(release: Release | None, answers: Mapping[str, str]) -> Iterator[str]:
    """Yield the proposal of each driver of the release that this site has to be told something about."""
    proposed = proposed_drivers(release)

    def setting(name: str) -> str:
        """Return the driver's line; as a comment while its value is a placeholder."""
        driver, _, key = name.partition(".")
        before = 'kubeconfig: {secret: "file:secrets/kubeconfig"}, ' if driver == "helm" else ""
        return f"  {'' if name in answers else '# '}{driver}: {{{before}{key}: {answers.get(name, FILL_IN)}}}"

    if "registry.endpoint" in proposed:
        yield _line(setting("registry.endpoint"), "host:port of the site's registry; besides, if needed:")
        yield _line("", "prefix: team, plain_http: true, ca: tls/ca.pem,")
        yield _line("", 'login: {secret: "file:secrets/registry.json"}')
    if "helm.namespace" in proposed:
        yield _line(setting("helm.namespace"), "where the charts of the release are installed")
    if "program.user" in proposed:
        yield _line(setting("program.user"), "account without rights, for programs of the release")


def asked_endpoints(offer: VendorOffer) -> dict[str, str]:
    """Return the endpoints that probes ask or signals are read from, each with the first of them and its address."""
    release = offer.release
    asked: dict[str, str] = {}
    for probe in release.probes if release is not None else ():
        if probe.http is not None:
            asked.setdefault(probe.http.endpoint, f"the probe {probe.name}, http://HOST:PORT")
        elif probe.tcp is not None:
            asked.setdefault(probe.tcp.endpoint, f"the probe {probe.name}, tcp://HOST:PORT")
    for signal, name in contract_endpoints(offer.contract) if offer.contract is not None else ():
        asked.setdefault(name, f"the signal {signal.name}, {' or '.join(address_forms(signal).values())}")
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

commands: {{}}                                       # handlers that may run, such as {{inventory: allowed}}; no others

confirm: {{by: probes, or_person: {confirms}}}
time: warn                                         # warn | enforce | ignore: effect of a date in the past
windows: {{enforce: false}}
"""
