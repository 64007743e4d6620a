"""Whose key speaks: enrolled ones."""

from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, select

from fleet.checking import Checked
from fleet.ledger.tables import enrolments, sites
from fleet.quarantine import File
from manifests.enrolment import verify_enrolment
from manifests.errors import MalformedError, RefusedError, UntrustedError, WaybillError
from manifests.keys import PublicKey
from manifests.report import SignedReport


@dataclass(frozen=True)
class Speaker:
    """An enrolled key."""

    enrolment_id: int
    enrolment: str
    site: str
    key_epoch: int
    key: PublicKey


def find_speakers(connection: Connection, keyids: set[str]) -> dict[str, Speaker]:
    columns = (enrolments.c.id, enrolments.c.digest, enrolments.c.keyid, enrolments.c.key_epoch, enrolments.c.raw)
    query = select(*columns, sites.c.site).join(sites).where(enrolments.c.keyid.in_(bindparam("keys", expanding=True)))
    found = {}
    for row in connection.execute(query, {"keys": sorted(keyids)}):
        key = verify_enrolment(row.raw).enrolment.key
        found[row.keyid] = Speaker(row.id, row.digest, row.site, row.key_epoch, key)
    return found


def identify(file: File, speaker: Speaker | None, checked: Checked | None) -> tuple[Speaker, SignedReport]:
    """The report and whose it is, once its signature has held."""
    if file.refused is not None:
        raise file.refused
    if speaker is None and file.keyid is not None:
        raise UntrustedError(
            f"signed by key {file.keyid[:16]}, which no enrolled site has",
            where=file.name,
            remedy="waybill fleet enroll the site, or find out who made this; the bytes are kept",
            finding="site-unknown",
        )
    if speaker is None or checked is None:
        raise MalformedError("not a report in our form", where=file.name, finding="report-malformed")
    if isinstance(checked, WaybillError):
        raise checked
    signed = checked
    identity = signed.report.identity
    if (identity.site, identity.key_epoch) != (speaker.site, speaker.key_epoch):
        raise RefusedError(
            f"it speaks for {identity.site} (key {identity.key_epoch}), "
            f"its key belongs to {speaker.site} (key {speaker.key_epoch})",
            where=file.name,
            finding="site-mismatch",
        )
    if signed.report.install.release is None and signed.subject != speaker.enrolment:
        raise RefusedError("it is about another enrolment of the site", where=file.name, finding="enrolment-mismatch")
    return speaker, signed
