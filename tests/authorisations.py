"""Authorisations as a vendor makes them, and wrong ones: change one thing to break one thing."""

from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from manifests.documents import release as r
from manifests.documents.authorisation import AUTHORISATION_TYPE, Authorisation, Left, Reached
from manifests.documents.rollback import Rollback
from manifests.trust.envelope import Envelope
from manifests.trust.envelope_writer import seal
from manifests.trust.private_keys import Signer
from manifests.trust.root import Mark
from manifests.words.canonical import decode, encode
from tests.consignments import consignment_for, signed
from tests.place import Place
from tests.vendor import ROLLBACK, Vendor
from verifier.intake.consignments import ReceivedConsignment, peek_consignment_file, receive_consignment
from verifier.site.journal.installs import Generation

SITE = "northern-grid/small/production/east"


@dataclass(frozen=True)
class Raised(Vendor):
    """It raises the floor above the release before it, and so promises no way back (D-6.8)."""

    floor: int = 2

    def rollback(self) -> Rollback:
        return replace(super().rollback(), back_to=())


PROBE = r.Probe(name="up", tcp=r.TcpProbe(endpoint="api"))
FIRST = Vendor(images=False, change={"probes": (PROBE,)})
SECOND = Raised(images=False, change=FIRST.change, version="1.1.0", sequence=2, service={"hello.txt": b"second\n"})


def authorisation(target: Generation, running: Generation | None = None, **changes: Any) -> Authorisation:
    """From ``running``, or from the second release of the channel, back to ``target``."""
    leaves = running.mark if running else Mark(epoch=1, sequence=2)
    said = Authorisation(
        vendor="small-works",
        number=7,
        product="small",
        sites=(SITE,),
        leaves=Left(channel="stable", mark=leaves),
        goes_to=Reached(release=target.release, version=target.version, channel=target.channel, mark=target.mark),
        why="1.1.0 loses orders at midnight",
        loses="orders typed since the upgrade",
        reopens=("CVE-2026-0001",),
        issued_at="2026-03-01T10:00:00Z",
    )
    return replace(said, **changes)


def sealed(said: Authorisation, *signers: Signer) -> bytes:
    return seal(encode(said), AUTHORISATION_TYPE, signers or (ROLLBACK,))


def carried(said: Authorisation, *signers: Signer) -> Envelope:
    return decode(sealed(said, *signers), Envelope, "test")


def bring(place: Place, *envelopes: Envelope, number: int = 0, revocations: bytes | None = None) -> ReceivedConsignment:
    """By the next consignment for this site."""
    state = place.open().state
    number = number or state.reports.consignment + 1
    note = consignment_for(state, number, authorisations=envelopes)
    if revocations is not None:
        note = replace(note, revocations=decode(revocations, Envelope, "test"))
    path = place.path.parent / f"note-{number}.json"
    path.write_bytes(signed(note))
    with place.hold() as site:
        return receive_consignment(site, peek_consignment_file(path))
