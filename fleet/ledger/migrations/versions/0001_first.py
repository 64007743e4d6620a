"""The first tables. A migration that was released is never edited; the next one changes what is wrong with it."""

import sqlalchemy as sa
from alembic import op

from fleet.ledger.tables import required

revision = "0001"
down_revision = None

DIGEST = sa.String(71)
NAME = sa.String(128)
TIME = sa.String(20)


def upgrade() -> None:
    op.create_table(
        "roots",
        sa.Column("digest", DIGEST, primary_key=True),
        *required(version=sa.Integer),
        sa.Column("vendor", NAME),
        *required(practice=sa.Boolean, pinned=sa.Boolean, added_at=TIME),
    )
    op.create_table(
        "sites",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("site", sa.String(515), unique=True, nullable=False),
        *required(customer=NAME, product=NAME, environment=NAME, name=NAME),
    )
    op.create_index("ix_sites_customer", "sites", ["customer"])
    op.create_index("ix_sites_product", "sites", ["product"])
    op.create_table(
        "enrolments",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("site_id", sa.Integer, sa.ForeignKey("sites.id"), nullable=False),
        sa.Column("digest", DIGEST, unique=True, nullable=False),
        sa.Column("keyid", sa.String(64), unique=True, nullable=False),
        *required(
            key_epoch=sa.BigInteger,
            channel=NAME,
            report_every_seconds=sa.BigInteger,
            practice=sa.Boolean,
            compared=sa.Boolean,
            enrolled_at=TIME,
            raw=sa.LargeBinary,
        ),
    )
    op.create_index("ix_enrolments_site_id", "enrolments", ["site_id"])
    op.create_table(
        "reports",
        sa.Column("digest", DIGEST, primary_key=True),
        sa.Column("enrolment_id", sa.Integer, sa.ForeignKey("enrolments.id"), nullable=False),
        *required(seq=sa.BigInteger, previous=DIGEST, made_at=TIME, received_at=TIME),
        sa.Column("release", DIGEST),
        sa.Column("version", NAME),
        *required(channel=NAME, state=sa.String(16), running=sa.Integer, parts=sa.Integer),
        sa.Column("config_version", sa.BigInteger),
        *required(root_version=sa.Integer, verifier=NAME, raw=sa.LargeBinary),
    )
    op.create_index("ix_reports_release", "reports", ["release"])
    op.create_index("ix_reports_enrolment_id_seq", "reports", ["enrolment_id", "seq"])
    op.create_table(
        "positions",
        sa.Column("enrolment_id", sa.Integer, sa.ForeignKey("enrolments.id"), primary_key=True, autoincrement=False),
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("digest", DIGEST, primary_key=True),
    )
    op.create_table(
        "standings",
        sa.Column("enrolment_id", sa.Integer, sa.ForeignKey("enrolments.id"), primary_key=True, autoincrement=False),
        sa.Column("report", DIGEST, sa.ForeignKey("reports.digest")),
        *required(newest_seq=sa.BigInteger, places_held=sa.BigInteger),
        sa.Column("forked_at", sa.BigInteger),
        *required(alarms=sa.Integer),
    )
    op.create_table(
        "findings",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("enrolment_id", sa.Integer, sa.ForeignKey("enrolments.id"), nullable=False),
        sa.Column("report", DIGEST, sa.ForeignKey("reports.digest"), nullable=False),
        *required(finding=sa.String(64), alarm=sa.Boolean, text=sa.Text, found_at=TIME),
    )
    op.create_index("ix_findings_enrolment_id", "findings", ["enrolment_id"])
    op.create_table(
        "releases",
        sa.Column("digest", DIGEST, primary_key=True),
        *required(
            vendor=NAME,
            product=NAME,
            version=NAME,
            channel=NAME,
            epoch=sa.BigInteger,
            sequence=sa.BigInteger,
            issued_at=TIME,
            contract=DIGEST,
            practice=sa.Boolean,
            imported_at=TIME,
            raw=sa.LargeBinary,
        ),
    )
    op.create_index(
        "ix_releases_product_channel_epoch_sequence", "releases", ["product", "channel", "epoch", "sequence"]
    )
    op.create_table(
        "components",
        sa.Column("release", DIGEST, sa.ForeignKey("releases.digest"), primary_key=True),
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("name", NAME, primary_key=True),
        sa.Column("step", NAME, primary_key=True),
        *required(digest=DIGEST, wanted=sa.String(16)),
    )
    op.create_index("ix_components_digest", "components", ["digest"])
    op.create_table(
        "quarantine",
        sa.Column("digest", DIGEST, primary_key=True),
        *required(name=sa.Text, size=sa.BigInteger, raw=sa.LargeBinary, finding=sa.String(64), problem=sa.Text),
        sa.Column("keyid", sa.String(64)),
        *required(seen_at=TIME),
        sa.Column("settled_at", TIME),
    )
    op.create_index("ix_quarantine_keyid", "quarantine", ["keyid"])
