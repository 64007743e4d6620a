"""A site in a temporary folder: real files, real keys, real bundles; only clock and boot are made up."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from manifests.documents.approval import Approval, sign_approval
from manifests.documents.plan import Plan
from manifests.documents.policy import Policy
from manifests.documents.release import Probe
from manifests.trust.private_keys import FileSigner, generate_key
from manifests.words.canonical import encode
from tests.vendor import Vendor
from verifier.approval.approve import VerdictRequest, give_verdict
from verifier.install.context import Programs, Runtime
from verifier.install.install import InstallRequest, install
from verifier.install.recover import confirm, recover
from verifier.install.result import InstallResult
from verifier.install.rollback import RollbackRequest, rollback
from verifier.intake.bundles import ReceivedBundle, receive_bundle
from verifier.intake.enrolment import EnrollRequest, SiteNames, enroll, read_offer
from verifier.intake.enrolment_files import NewPerson
from verifier.runtime.drivers.driver import load_driver
from verifier.runtime.probes.probe import ProbeContext, ProbeResult, run_probe
from verifier.site.disk import Disk
from verifier.site.folder import Site, open_site
from verifier.site.host import Host
from verifier.site.journal.events import Actor, PolicyInForce
from verifier.site.lock import hold_site

NAMES = SiteNames("northern-grid", "small", "production", "east")


def nobody(_: int) -> None:
    """Nobody watches."""


@dataclass
class Clock:
    """Stands still until somebody sleeps."""

    at: datetime = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
    running: float = 1000.0
    boot: str = "11111111-2222-3333-4444-555555555555"

    def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)
        self.running += seconds

    def host(self, account: str = "ops1") -> Host:
        return Host(
            now=lambda: self.at.replace(microsecond=0),
            monotonic=lambda: self.running,
            sleep=self.sleep,
            boot=self.boot,
            actor=Actor(account=account, uid=1000),
        )


# The endpoint of the probes of the tests' releases; a release whose endpoint is missing is not installed.
ENDPOINTS = 'endpoints: {api: "tcp://127.0.0.1:9"}'


@dataclass
class Place:
    """A site and the people around it.

    Attributes:
        health: What a probe answers, by its name; ``passing`` for the others, or the truth where ``real``.
        told: Causes of the reports that were written.
    """

    path: Path
    disk: Disk = field(default_factory=Disk)
    clock: Clock = field(default_factory=Clock)
    people: dict[str, FileSigner] = field(default_factory=dict)
    health: dict[str, Literal["passing", "failing", "unknown"]] = field(default_factory=dict)
    real: bool = False
    told: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    programs: Programs = field(default_factory=Programs)
    tell: Callable[[Site, str], Path] | None = None

    def tools(self) -> Runtime:
        return Runtime(self.said.append, look=self.look, programs=self.programs)

    def look(self, probe: Probe, context: ProbeContext) -> ProbeResult:
        if probe.name in self.health:
            return ProbeResult(probe.name, self.health[probe.name], "as the test wants it")
        return run_probe(probe, context) if self.real else ProbeResult(probe.name, "passing", "as the test wants it")

    def _tell(self, site: Site, cause: str) -> Path:
        self.told.append(cause)
        return self.tell(site, cause) if self.tell else site.outbox

    @contextmanager
    def hold(self, command: str = "test") -> Iterator[Site]:
        with hold_site(self.path, self.disk, self.clock.host(), command) as site:
            yield site

    def open(self) -> Site:
        return open_site(self.path, self.disk, self.clock.host())

    def receive(self, bundle: Path, *, keep: bool = False) -> ReceivedBundle:
        with self.hold() as site:
            return receive_bundle(site, bundle, keep=keep, advance=nobody)

    def approve(self, item: str, person: str = "ops-1", verdict: str = "approve") -> None:
        with self.hold() as site:
            give_verdict(site, self.people[person], VerdictRequest(tuple(item.split()), verdict), load_driver)  # type: ignore[arg-type]  # tests give one of the two words

    def install(
        self,
        item: str,
        *,
        media: Path | None = None,
        contract: str | None = None,
        outside_window: str | None = None,
        emergency: str = "",
    ) -> InstallResult:
        """``item`` may be several, with spaces between."""
        with self.hold() as site:
            request = InstallRequest(
                items=tuple(item.split()),
                write_report=self._tell,
                on_progress=nobody,
                media=media,
                contract=lambda change: contract or change.planned.contract,
                outside_window=outside_window,
                emergency_rule=emergency or None,
            )
            return install(site, request, self.tools())

    def rollback(self, number: int | None = None, person: str | None = None) -> InstallResult:
        with self.hold() as site:
            request = RollbackRequest(number=number, signers=(self.people[person],) if person else ())
            return rollback(site, request, self.tools(), self._tell)

    def confirm(self, person: str | None = None) -> InstallResult:
        with self.hold() as site:
            return confirm(site, self.tools(), self.people[person] if person else None, self._tell)

    def recover(self, *, due: bool = False) -> tuple[str, InstallResult]:
        with self.hold() as site:
            return recover(site, self.tools(), self._tell, due=due)

    def put_policy(self, policy: Policy, *people: str) -> None:
        """Put a compiled policy in force as `install policy` does, with the approvals of ``people``."""
        with self.hold() as site:
            state = site.state
            digest = site.keep_document(encode(policy))
            plan = Plan(
                site=state.site,
                site_key=state.site_key.keyid,
                action="policy",
                last_change=state.last_change,
                policy=state.trust.policy,
                subject=digest,
                kinds=("policy",),
            )
            approvals = []
            for person in people or ("ops-1",):
                key, role = self.people[person], site.policy.people[person].role
                said = Approval(plan=plan.digest, verdict="approve", keyid=key.public.keyid, role=role)
                approvals.append(site.keep_document(sign_approval(said, key)))
            kept = site.keep_document(encode(plan))
            site.record(PolicyInForce(number=policy.number, digest=digest, plan=kept, approvals=tuple(approvals)))

    def bring(self, bundle: Path) -> InstallResult:
        """Receive, approve and install in one go."""
        item = self.receive(bundle).item
        self.approve(item)
        return self.install(item)


def make_place(
    folder: Path, vendor: Vendor, *, disk: Disk | None = None, reserve: str = "64KiB", minimum: int | None = None
) -> Place:
    """A site enrolled for ``vendor``, with one operator, drivers `store` and `files`."""
    folder.mkdir(parents=True, exist_ok=True)
    people = {"ops-1": generate_key()}
    pubs = {}
    for name, signer in people.items():
        pubs[name] = NewPerson(folder / f"{name}.pub")
        pubs[name].key.write_text(signer.public.pem)
    bundle = vendor.write(folder / "offer.tar")
    place = Place(path=folder / "site", disk=disk or Disk(), people=people)
    offer = read_offer(bundle, vendor.pin().digest, None)
    host = place.clock.host()
    request = EnrollRequest(offer, NAMES, pubs, place.path, practice=vendor.practice, minimum=minimum)
    enroll(request, Disk(), host)
    yaml = place.path / "site.yaml"
    text = yaml.read_text().replace("reserve: 16MiB", f"reserve: {reserve}")
    # The tests' programs are not run in earnest, and need no account.
    text = re.sub(r"(?m)^  program: .*\n", "", text)
    yaml.write_text(re.sub(r"(?m)^endpoints: \{[^}]*\}", ENDPOINTS, text))
    return place
