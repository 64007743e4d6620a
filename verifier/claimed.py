"""A time that a release claims and nobody believes until a person says so: one mis-dated build must not move a site."""

from manifests.errors import RefusedError, UsageError
from manifests.keys import Signer
from verifier.events import TimeAcknowledged
from verifier.install import who_confirms
from verifier.site import Site


def acknowledge_time(site: Site, time: str, signer: Signer | None) -> None:
    """Let a claimed time become the floor.

    Raises:
        RefusedError: It is not the time that is claimed, or the key's owner may not say so.
        UsageError: No key is named, and the journal is to hold who said it.
    """
    claimed = site.state.time_claimed
    if claimed is None or time != claimed:
        raise RefusedError(
            f"{time} is not claimed by anything here, {claimed or 'nothing'} is",
            where="--time",
            remedy="waybill status shows it",
            finding="time-not-claimed",
        )
    if signer is None:
        raise UsageError("who says so has to sign", where="--key", remedy=f"waybill confirm --time {time} --key KEY")
    site.record(TimeAcknowledged(time=time, person=who_confirms(site.policy, signer)))
