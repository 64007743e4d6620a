"""The tables as this program expects them; the migrations make them.

Times are RFC 3339 text with ``Z`` in the database, which sorts, and aware times in the program; digests are text. What
was received is kept as bytes in ``raw`` columns: every other column is an index over them and can be made again.
"""

from datetime import datetime

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

# Root documents of the vendor; a person trusts those with `pinned`, the others follow from one by a chain.
roots = Table(
    "roots",
    metadata,
    Column("digest", DIGEST, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("vendor", NAME),
    Column("practice", Boolean, nullable=False),
    Column("pinned", Boolean, nullable=False),
    Column("added_at", TIME, nullable=False),
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
    Column("environment", NAME, nullable=False),
    Column("name", NAME, nullable=False),
)

# One chain of reports: a site's enrolment and everything chained to it.
enrolments = Table(
    "enrolments",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("site_id", Integer, ForeignKey("sites.id"), nullable=False, index=True),
    Column("digest", DIGEST, nullable=False, unique=True),
    Column("keyid", String(64), nullable=False, unique=True),
    Column("key_epoch", BigInteger, nullable=False),
    Column("channel", NAME, nullable=False),
    Column("report_every_seconds", BigInteger, nullable=False),
    Column("practice", Boolean, nullable=False),
    # Whether a person compared the key's fingerprint with the customer through another channel.
    Column("compared", Boolean, nullable=False),
    Column("enrolled_at", TIME, nullable=False),
    Column("raw", LargeBinary, nullable=False),
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
    Column("key_epoch", BigInteger, nullable=False),
    Column("after_seq", BigInteger, nullable=False),
    Column("after", DIGEST, nullable=False),
    Column("learned_at", TIME, nullable=False),
    Column("raw", LargeBinary, nullable=False),
)

reports = Table(
    "reports",
    metadata,
    Column("digest", DIGEST, primary_key=True),
    Column("enrolment_id", Integer, ForeignKey("enrolments.id"), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("previous", DIGEST, nullable=False),
    Column("made_at", TIME, nullable=False),
    Column("received_at", TIME, nullable=False),
    Column("release", DIGEST, index=True),
    Column("version", NAME),
    Column("channel", NAME, nullable=False),
    Column("state", String(16), nullable=False),
    # How many components were observed running, and how many there are; the others are only placed.
    Column("running", Integer, nullable=False),
    Column("parts", Integer, nullable=False),
    Column("config_version", BigInteger),
    Column("root_version", Integer, nullable=False),
    Column("verifier", NAME, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    # When the echoed challenge was made: the site cannot have signed the report earlier.
    Column("not_before", TIME),
    # Digest of the echoed challenge.
    Column("challenge", DIGEST),
    # On a branch that a person set aside.
    Column("refused", Boolean, nullable=False, server_default=false()),
    # Whether every component is as the known release has it, so that a list need not read `raw`; absent in older rows.
    Column("as_released", Boolean),
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
    # How many numbers up to `newest_seq` have their report here; fewer than `newest_seq` is a gap.
    Column("places_held", BigInteger, nullable=False),
    Column("forked_at", BigInteger),
    Column("alarms", Integer, nullable=False),
)

findings = Table(
    "findings",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("enrolment_id", Integer, ForeignKey("enrolments.id"), nullable=False, index=True),
    Column("report", DIGEST, ForeignKey("reports.digest"), nullable=False),
    Column("finding", String(64), nullable=False),
    Column("alarm", Boolean, nullable=False),
    Column("text", Text, nullable=False),
    Column("found_at", TIME, nullable=False),
    # The resolution that settled it.
    Column("resolution", Integer),
)

releases = Table(
    "releases",
    metadata,
    Column("digest", DIGEST, primary_key=True),
    Column("vendor", NAME, nullable=False),
    Column("product", NAME, nullable=False),
    Column("version", NAME, nullable=False),
    Column("channel", NAME, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("issued_at", TIME, nullable=False),
    Column("contract", DIGEST, nullable=False),
    Column("practice", Boolean, nullable=False),
    Column("imported_at", TIME, nullable=False),
    Column("raw", LargeBinary, nullable=False),
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
    Column("name", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    # Of a file above the limit only the beginning is kept; `size` is that of the whole file.
    Column("raw", LargeBinary, nullable=False),
    Column("finding", String(64), nullable=False),
    Column("problem", Text, nullable=False),
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
    Column("seq", BigInteger, nullable=False),
    Column("digest", String(25), nullable=False),
    Column("heard_at", TIME, nullable=False),
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
    Column("set_aside", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("resolved_at", TIME, nullable=False),
)

# Telemetry contracts from bundles: what a report may hold, and how long support may keep it.
contracts = Table(
    "contracts",
    metadata,
    Column("digest", DIGEST, primary_key=True),
    Column("imported_at", TIME, nullable=False),
    Column("raw", LargeBinary, nullable=False),
)

# The offboarding of a site: from the request to the signed receipt, and what was deleted when.
closures = Table(
    "closures",
    metadata,
    Column("site_id", Integer, ForeignKey("sites.id"), primary_key=True, autoincrement=False),
    Column("reason", String(16), nullable=False),
    Column("requested_at", TIME, nullable=False),
    Column("requested_by", Text, nullable=False),
    Column("closed_at", TIME),
    Column("closed_by", Text),
    Column("receipt", LargeBinary),
    Column("keep_until", TIME),
    Column("purged_at", TIME),
    Column("purged", Text),
)
