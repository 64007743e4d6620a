"""Consignments as a vendor makes them, and wrong ones: change one thing to break one thing."""

import hashlib
from typing import Any

from msgspec.structs import replace

from manifests.documents.consignment import Consignment, sign_consignment
from manifests.documents.report import Acknowledged
from manifests.trust.private_keys import Signer
from tests.vendor import CONSIGNMENT
from verifier.site.journal.state import SiteState


def challenge_of(number: int) -> str:
    return hashlib.sha256(b"challenge %d" % number).hexdigest()


def consignment_for(state: SiteState, number: int = 1, *, acknowledge: bool = False, **changes: Any) -> Consignment:
    said = Consignment(
        vendor="small-works",
        site=state.site,
        site_key=state.site_key.keyid,
        number=number,
        issued_at="2026-03-01T10:00:00Z",
        challenge=challenge_of(number),
        acknowledged=Acknowledged(seq=state.reports.seq, digest=state.reports.head or "") if acknowledge else None,
    )
    return replace(said, **changes)


def signed(said: Consignment, *signers: Signer) -> bytes:
    return sign_consignment(said, signers or (CONSIGNMENT,))
