"""A site in memory that signs real reports with a real key; a clone of it is what a copied site folder is."""

import copy
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from manifests.documents import (
    report as r,
)
from manifests.documents import signed_report
from manifests.documents.enrolment import Enrolment, sign_enrolment
from manifests.documents.report_condition import VerifierState
from manifests.trust.private_keys import FileSigner, generate_key
from manifests.trust.root import Mark, Pin
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from tests.vendor import Vendor

FAR_ROOT = Pin(version=1, digest="sha256:" + "ab" * 32)


@dataclass
class Reporter:
    """A site; every call of ``report`` is the next one of its chain."""

    site: str = "northern-grid/small/production/east"
    signer: FileSigner = field(default_factory=generate_key)
    root: Pin = FAR_ROOT
    practice: bool = False
    made_at: str = "2026-05-04T03:02:01Z"
    last: signed_report.SignedReport | None = None
    journal: int = 3
    generations: tuple[r.ReportedGeneration, ...] = ()
    rollbacks: tuple[r.ReportedRollback, ...] = ()
    mark: Mark | None = None
    floor: Mark | None = None
    current: r.ReportedInstalled | None = None

    @property
    def enrolment(self) -> bytes:
        said = Enrolment(
            site=self.site,
            key=self.signer.public,
            key_epoch=1,
            root=self.root,
            channel="stable",
            report_every_seconds=86400,
            practice=self.practice,
            created_at="2026-05-01T00:00:00Z",
        )
        return sign_enrolment(said, self.signer)

    def clone(self) -> "Reporter":
        return copy.deepcopy(self, {id(self.signer): self.signer})

    def next(
        self, vendor: Vendor | None = None, state: r.ReportedInstallState = "confirmed", **changes: Any
    ) -> r.Report:
        """What the next report would say; ``vendor`` has just been installed."""
        components: tuple[r.ReportedComponent, ...] = ()
        if vendor is not None:
            release, _, _ = vendor.release()
            digest = digest_of(encode(release))
            number = len(self.generations) + 1
            generation = r.ReportedGeneration(number=number, release=digest, version=release.version, state=state)
            self.generations = (*self.generations, generation)
            self.mark = max(self.mark or release.mark, release.mark)
            self.current = r.ReportedInstalled(
                generation=number,
                digest=digest,
                product=release.product,
                version=release.version,
                channel=release.channel,
                epoch=release.epoch,
                sequence=release.sequence,
            )
            components = tuple(
                r.ReportedComponent(
                    kind=one.kind, name=one.name, step=one.step, expected=one.digest, found="same", level="placed"
                )
                for one in signed_report.expected_components(release)
            )
        elif self.last is not None:
            components = self.last.report.components.listed
        self.journal += 4
        report = r.Report(
            identity=r.SiteIdentity(site=self.site, key_epoch=1, report_every_seconds=86400),
            chain=r.ChainLink(
                seq=self.last.report.chain.seq + 1 if self.last else 1,
                previous=self.last.digest if self.last else digest_of(self.enrolment),
                made_at=self.made_at,
                cause="install" if vendor else "requested",
                earlier=self._earlier(),
                journal=r.ReportedJournal(entries=self.journal, head=digest_of(b"%d" % self.journal)),
            ),
            trust=r.Trust(
                root=r.ReportedRoot(version=self.root.version, digest=self.root.digest),
                channel="stable",
                mark=self.mark,
                floor=self.floor,
                clock="plausible",
            ),
            policy=r.PolicyState(number=1, digest=digest_of(b"policy")),
            install=r.Install(
                state=state if self.current else "none", release=self.current, generations=self.generations
            ),
            components=r.Components(listed=components),
            config=r.ConfigState(),
            rollbacks=self.rollbacks,
            verifier=VerifierState(version="0.1.0", format=1),
        )
        return replace(report, **changes)

    def sign(self, report: r.Report) -> bytes:
        """Sign a report that may be wrong in itself; the chain moves on to it."""
        raw = signed_report.sign_report(report, digest_of(self.enrolment), self.signer)
        self.last = signed_report.verify_report(raw, self.signer.public)
        return raw

    def report(
        self, vendor: Vendor | None = None, state: r.ReportedInstallState = "confirmed", **changes: Any
    ) -> bytes:
        return self.sign(self.next(vendor, state, **changes))

    def _earlier(self) -> tuple[r.Earlier, ...]:
        if self.last is None:
            return ()
        chain, install = self.last.report.chain, self.last.report.install
        one = r.Earlier(
            seq=chain.seq,
            digest=self.last.digest,
            made_at=chain.made_at,
            cause=chain.cause,
            release=install.release.digest if install.release else None,
            state=install.state,
        )
        return (*chain.earlier, one)
