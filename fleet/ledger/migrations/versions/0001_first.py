"""The first tables. A migration that was released is never edited; the next one changes what is wrong with it."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

DIGEST = sa.String(71)
NAME = sa.String(128)
TIME = sa.String(20)


def upgrade() -> None:
    op.create_table(
        "roots",
        sa.Column("digest", DIGEST, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("vendor", NAME),
        sa.Column("practice", sa.Boolean, nullable=False),
        sa.Column("pinned", sa.Boolean, nullable=False),
        sa.Column("added_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_roots"),
    )
    op.create_table(
        "sites",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("site", sa.String(515), nullable=False),
        sa.Column("customer", NAME, nullable=False),
        sa.Column("product", NAME, nullable=False),
        sa.Column("environment", NAME, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sites"),
        sa.UniqueConstraint("site", name="uq_sites_site"),
    )
    op.create_index("ix_sites_customer", "sites", ["customer"])
    op.create_index("ix_sites_product", "sites", ["product"])
    op.create_table(
        "enrolments",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("site_id", sa.Integer, nullable=False),
        sa.Column("digest", DIGEST, nullable=False),
        sa.Column("keyid", sa.String(64), nullable=False),
        sa.Column("key_epoch", sa.BigInteger, nullable=False),
        sa.Column("channel", NAME, nullable=False),
        sa.Column("report_every_seconds", sa.BigInteger, nullable=False),
        sa.Column("practice", sa.Boolean, nullable=False),
        sa.Column("compared", sa.Boolean, nullable=False),
        sa.Column("enrolled_at", TIME, nullable=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_enrolments"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name="fk_enrolments_site_id"),
        sa.UniqueConstraint("digest", name="uq_enrolments_digest"),
        sa.UniqueConstraint("keyid", name="uq_enrolments_keyid"),
    )
    op.create_index("ix_enrolments_site_id", "enrolments", ["site_id"])
    op.create_table(
        "reports",
        sa.Column("digest", DIGEST, nullable=False),
        sa.Column("enrolment_id", sa.Integer, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("previous", DIGEST, nullable=False),
        sa.Column("made_at", TIME, nullable=False),
        sa.Column("received_at", TIME, nullable=False),
        sa.Column("release", DIGEST),
        sa.Column("version", NAME),
        sa.Column("channel", NAME, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("running", sa.Integer, nullable=False),
        sa.Column("parts", sa.Integer, nullable=False),
        sa.Column("config_version", sa.BigInteger),
        sa.Column("root_version", sa.Integer, nullable=False),
        sa.Column("verifier", NAME, nullable=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_reports"),
        sa.ForeignKeyConstraint(["enrolment_id"], ["enrolments.id"], name="fk_reports_enrolment_id"),
    )
    op.create_index("ix_reports_release", "reports", ["release"])
    op.create_index("ix_reports_enrolment_id_seq", "reports", ["enrolment_id", "seq"])
    op.create_table(
        "positions",
        sa.Column("enrolment_id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("digest", DIGEST, nullable=False),
        sa.PrimaryKeyConstraint("enrolment_id", "seq", "digest", name="pk_positions"),
        sa.ForeignKeyConstraint(["enrolment_id"], ["enrolments.id"], name="fk_positions_enrolment_id"),
    )
    op.create_table(
        "standings",
        sa.Column("enrolment_id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("report", DIGEST),
        sa.Column("newest_seq", sa.BigInteger, nullable=False),
        sa.Column("places_held", sa.BigInteger, nullable=False),
        sa.Column("forked_at", sa.BigInteger),
        sa.Column("alarms", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("enrolment_id", name="pk_standings"),
        sa.ForeignKeyConstraint(["enrolment_id"], ["enrolments.id"], name="fk_standings_enrolment_id"),
        sa.ForeignKeyConstraint(["report"], ["reports.digest"], name="fk_standings_report"),
    )
    op.create_table(
        "findings",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("enrolment_id", sa.Integer, nullable=False),
        sa.Column("report", DIGEST, nullable=False),
        sa.Column("finding", sa.String(64), nullable=False),
        sa.Column("alarm", sa.Boolean, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("found_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_findings"),
        sa.ForeignKeyConstraint(["enrolment_id"], ["enrolments.id"], name="fk_findings_enrolment_id"),
        sa.ForeignKeyConstraint(["report"], ["reports.digest"], name="fk_findings_report"),
    )
    op.create_index("ix_findings_enrolment_id", "findings", ["enrolment_id"])
    op.create_table(
        "releases",
        sa.Column("digest", DIGEST, nullable=False),
        sa.Column("vendor", NAME, nullable=False),
        sa.Column("product", NAME, nullable=False),
        sa.Column("version", NAME, nullable=False),
        sa.Column("channel", NAME, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("issued_at", TIME, nullable=False),
        sa.Column("contract", DIGEST, nullable=False),
        sa.Column("practice", sa.Boolean, nullable=False),
        sa.Column("imported_at", TIME, nullable=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_releases"),
    )
    op.create_index(
        "ix_releases_product_channel_epoch_sequence", "releases", ["product", "channel", "epoch", "sequence"]
    )
    op.create_table(
        "components",
        sa.Column("release", DIGEST, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("step", NAME, nullable=False),
        sa.Column("digest", DIGEST, nullable=False),
        sa.Column("wanted", sa.String(16), nullable=False),
        sa.PrimaryKeyConstraint("release", "kind", "name", "step", name="pk_components"),
        sa.ForeignKeyConstraint(["release"], ["releases.digest"], name="fk_components_release"),
    )
    op.create_index("ix_components_digest", "components", ["digest"])
    op.create_table(
        "quarantine",
        sa.Column("digest", DIGEST, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
        sa.Column("finding", sa.String(64), nullable=False),
        sa.Column("problem", sa.Text, nullable=False),
        sa.Column("keyid", sa.String(64)),
        sa.Column("seen_at", TIME, nullable=False),
        sa.Column("settled_at", TIME),
        sa.PrimaryKeyConstraint("digest", name="pk_quarantine"),
    )
    op.create_index("ix_quarantine_keyid", "quarantine", ["keyid"])
