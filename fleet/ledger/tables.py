"""The tables as this program expects them; the migrations make them.

Times are RFC 3339 text with ``Z`` in the database, which sorts, and aware times in the program; digests are text. What
was received is kept as bytes in ``raw`` columns: every other column is an index over them and can be made again.
"""

from datetime import datetime
from typing import Any  # SQLAlchemy has columns and types of any type

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
)
from sqlalchemy.types import TypeEngine

from manifests.words.time import parse_time, rfc3339

# Named constraints, so that a later migration can change one on every database.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

DIGEST = String(71)
NAME = String(128)


class Time(TypeDecorator[datetime]):
    """An aware time, stored as RFC 3339 text in UTC."""

    impl = String(20)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        return None if value is None else rfc3339(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:
        return None if value is None else parse_time(value)


TIME = Time()


def required(**types: TypeEngine[Any] | type[TypeEngine[Any]]) -> list[Column[Any]]:
    """Columns that are never null, in this order; the migrations use it too."""
    return [Column(name, type_, nullable=False) for name, type_ in types.items()]


# Root documents of the vendor; a person trusts those with `pinned`, the others follow from one by a chain.
roots = Table(
    "roots",
    metadata,
    Column("digest", DIGEST, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("vendor", NAME),
    *required(practice=Boolean, pinned=Boolean, added_at=TIME),
    # The whole document; absent while only an enrolment named it, or in a row older than this column.
    Column("raw", LargeBinary),
)

sites = Table(
    "sites",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("site", String(515), nullable=False, unique=True),
    Column("customer", NAME, nullable=False, index=True),
    Column("product", NAME, nullable=False, index=True),
    *required(environment=NAME, name=NAME),
)

# One chain of reports: a site's enrolment and everything chained to it.
enrolments = Table(
    "enrolments",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("site_id", Integer, ForeignKey("sites.id"), nullable=False, index=True),
    Column("digest", DIGEST, nullable=False, unique=True),
    Column("keyid", String(64), nullable=False, unique=True),
    *required(key_epoch=BigInteger, channel=NAME, report_every_seconds=BigInteger, practice=Boolean),
    # Whether a person compared the key's fingerprint with the customer through another channel.
    *required(compared=Boolean, enrolled_at=TIME, raw=LargeBinary),
    # `current` is the chain that counts; `pending` a renewal that nobody has accepted; `refused` one that was
    # not accepted; `former` what a renewal replaced.
    Column("standing", String(16), nullable=False, server_default="current"),
)

# Keys that followed an enrolled one by a rotation signed by both keys; `raw` is that rotation, `after_seq` the last
# report by the key before. The enrolled key itself is in `enrolments`.
keys = Table(
    "keys",
    metadata,
    Column("keyid", String(64), primary_key=True),
    Column("enrolment_id", Integer, ForeignKey("enrolments.id"), nullable=False, index=True),
    *required(key_epoch=BigInteger, after_seq=BigInteger, after=DIGEST, learned_at=TIME, raw=LargeBinary),
)

reports = Table(
    "reports",
    metadata,
    Column("digest", DIGEST, primary_key=True),
    Column("enrolment_id", Integer, ForeignKey("enrolments.id"), nullable=False),
    *required(seq=BigInteger, previous=DIGEST, made_at=TIME, received_at=TIME),
    Column("release", DIGEST, index=True),
    Column("version", NAME),
    *required(channel=NAME, state=String(16)),
    # How many components were observed running, and how many there are; the others are only placed.
    *required(running=Integer, parts=Integer),
    Column("config_version", BigInteger),
    *required(root_version=Integer, verifier=NAME, raw=LargeBinary),
    # When the echoed challenge was made: the site cannot have signed the report earlier.
    Column("not_before", TIME),
    # Digest of the echoed challenge.
    Column("challenge", DIGEST),
    # On a branch that a person set aside.
    Column("refused", Boolean, nullable=False, server_default=false()),
    # Whether every component is as the known release has it, so that a list need not read `raw`; absent in older rows.
    Column("as_released", Boolean),
    # Names of the probes that fail, with spaces between; absent in older rows.
    Column("failing", Text),
    Index(None, "enrolment_id", "seq"),
)

# Every digest that is known at a number of a chain: the report is here, or another report names it.
# Two digests at one number are a fork. Number 0 is the enrolment.
positions = Table(
    "positions",
    metadata,
    Column("enrolment_id", Integer, ForeignKey("enrolments.id"), primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("digest", DIGEST, primary_key=True),
    # On a branch that a person set aside: no longer a fork, and never part of the chain again.
    Column("refused", Boolean, nullable=False, server_default=false()),
)

# The present state of each chain, so that a list of all sites reads one row for each.
standings = Table(
    "standings",
    metadata,
    Column("enrolment_id", Integer, ForeignKey("enrolments.id"), primary_key=True, autoincrement=False),
    Column("report", DIGEST, ForeignKey("reports.digest")),
    Column("newest_seq", BigInteger, nullable=False),
    # Of how many numbers up to `newest_seq` the report is here, or summed up by a later one; fewer is a gap.
    Column("places_known", BigInteger, nullable=False),
    Column("forked_at", BigInteger),
    Column("alarms", Integer, nullable=False),
)

findings = Table(
    "findings",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("enrolment_id", Integer, ForeignKey("enrolments.id"), nullable=False, index=True),
    Column("report", DIGEST, ForeignKey("reports.digest"), nullable=False),
    *required(finding=String(64), alarm=Boolean, text=Text, found_at=TIME),
    # The resolution that settled it.
    Column("resolution", Integer),
)

releases = Table(
    "releases",
    metadata,
    Column("digest", DIGEST, primary_key=True),
    *required(
        vendor=NAME,
        product=NAME,
        version=NAME,
        channel=NAME,
        epoch=BigInteger,
        sequence=BigInteger,
        issued_at=TIME,
        contract=DIGEST,
        practice=Boolean,
        imported_at=TIME,
        raw=LargeBinary,
    ),
    Index(None, "product", "channel", "epoch", "sequence"),
)

components = Table(
    "components",
    metadata,
    Column("release", DIGEST, ForeignKey("releases.digest"), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("name", NAME, primary_key=True),
    Column("step", NAME, primary_key=True),
    Column("digest", DIGEST, nullable=False, index=True),
    Column("wanted", String(16), nullable=False),
)

# Refused files with their bytes; `settled_at` is set when the same bytes are accepted later.
quarantine = Table(
    "quarantine",
    metadata,
    Column("digest", DIGEST, primary_key=True),
    *required(name=Text, size=BigInteger),
    # Of a file above the limit only the beginning is kept; `size` is that of the whole file.
    *required(raw=LargeBinary, finding=String(64), problem=Text),
    Column("keyid", String(64), index=True),
    Column("seen_at", TIME, nullable=False),
    Column("settled_at", TIME),
    # The resolution that released or closed it.
    Column("resolution", Integer),
    Index(None, "seen_at"),
)

# The consignments. `challenge` is the digest of the challenge, which a report echoes; `acknowledged` the digest of the
# report that it acknowledges.
consignments = Table(
    "consignments",
    metadata,
    Column("digest", DIGEST, primary_key=True),
    Column("site_id", Integer, ForeignKey("sites.id"), nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("challenge", DIGEST, nullable=False, unique=True),
    Column("issued_at", TIME, nullable=False),
    Column("acknowledged", DIGEST),
    Column("raw", LargeBinary, nullable=False),
    # When it was written to a medium completely, and to which; absent when the medium could not be written.
    Column("written_at", TIME),
    Column("medium", Text),
    UniqueConstraint("site_id", "number"),
)

# Telephone claims: the number of a report and the beginning of its digest. Only the report itself proves one.
spoken = Table(
    "spoken",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("enrolment_id", Integer, ForeignKey("enrolments.id"), nullable=False),
    *required(seq=BigInteger, digest=String(25), heard_at=TIME),
    Index(None, "enrolment_id", "seq"),
)

# Decisions of people; none deletes anything, and none is ever changed.
resolutions = Table(
    "resolutions",
    metadata,
    Column("id", Integer, primary_key=True),
    # Absent for a quarantined file that names no enrolled key.
    Column("site_id", Integer, ForeignKey("sites.id"), index=True),
    Column("kind", String(16), nullable=False),
    Column("accepted", DIGEST),
    *required(set_aside=Text, reason=Text, who=Text, resolved_at=TIME),
)

# Telemetry contracts from bundles: what a report may hold, and how long support may keep it.
contracts = Table(
    "contracts", metadata, Column("digest", DIGEST, primary_key=True), *required(imported_at=TIME, raw=LargeBinary)
)

# The offboarding of a site: from the request to the signed receipt, and what was deleted when.
closures = Table(
    "closures",
    metadata,
    Column("site_id", Integer, ForeignKey("sites.id"), primary_key=True, autoincrement=False),
    *required(reason=String(16), requested_at=TIME, requested_by=Text),
    Column("closed_at", TIME),
    Column("closed_by", Text),
    Column("receipt", LargeBinary),
    Column("keep_until", TIME),
    Column("purged_at", TIME),
    Column("purged", Text),
)

# Telemetry of sites: one row for each interval and combination of labels. `labels` and `values` are canonical JSON.
telemetry = Table(
    "telemetry",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("enrolment_id", Integer, ForeignKey("enrolments.id"), nullable=False),
    # The release that ran; empty while none did.
    *required(signal=NAME, release=DIGEST, start=TIME),
    # Labels and words of the row: what tells rows of one interval apart.
    *required(key=Text, labels=Text),
    # How much of the interval was counted: a later report may have more of it.
    *required(seconds=BigInteger, values=Text),
    # Number of the report that brought it, and the contract that allows it.
    *required(seq=BigInteger, contract=DIGEST),
    # When the contract's time is over.
    Column("delete_at", TIME, nullable=False, index=True),
    UniqueConstraint("enrolment_id", "signal", "start", "key"),
)

# Files of telemetry by digest: `waiting` for their report or their contract with their bytes, or `accepted` without.
telemetry_files = Table(
    "telemetry_files",
    metadata,
    Column("digest", DIGEST, primary_key=True),
    Column("site_id", Integer, ForeignKey("sites.id"), nullable=False, index=True),
    *required(seq=BigInteger, received_at=TIME, standing=String(16), why=Text, raw=LargeBinary),
)

# Which rows of telemetry were deleted when, because the time of their contract was over.
deletions = Table(
    "deletions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("enrolment_id", Integer, ForeignKey("enrolments.id"), nullable=False, index=True),
    *required(signal=NAME, contract=DIGEST, rows=BigInteger, oldest=TIME, newest=TIME, deleted_at=TIME),
)
