"""Consignments as a vendor makes them, and wrong ones: change one thing to break one thing."""

import hashlib
from typing import Any

from msgspec.structs import replace

from manifests.consignment import Consignment, sign_consignment
from manifests.keys import Signer
from manifests.report import Acknowledged
from tests.vendor import CONSIGNMENT
from verifier.state import SiteState


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
        acknowledged=Acknowledged(seq=state.report_seq, digest=state.report_head or "") if acknowledge else None,
    )
    return replace(said, **changes)


def signed(said: Consignment, *signers: Signer) -> bytes:
    return sign_consignment(said, signers or (CONSIGNMENT,))
