"""What people decide: branches, renewals, quarantine, closures; which consignment lay on a medium; contracts."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

DIGEST = sa.String(71)
TIME = sa.String(20)


def upgrade() -> None:
    op.add_column("enrolments", sa.Column("standing", sa.String(16), nullable=False, server_default="current"))
    op.add_column("reports", sa.Column("refused", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("reports", sa.Column("challenge", DIGEST))
    op.add_column("reports", sa.Column("as_released", sa.Boolean))
    op.add_column("positions", sa.Column("refused", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("findings", sa.Column("resolution", sa.Integer))
    op.add_column("quarantine", sa.Column("resolution", sa.Integer))
    op.create_index("ix_quarantine_seen_at", "quarantine", ["seen_at"])
    op.add_column("consignments", sa.Column("written_at", TIME))
    op.add_column("consignments", sa.Column("medium", sa.Text))
    op.create_table(
        "keys",
        sa.Column("keyid", sa.String(64), nullable=False),
        sa.Column("enrolment_id", sa.Integer, nullable=False),
        sa.Column("key_epoch", sa.BigInteger, nullable=False),
        sa.Column("after_seq", sa.BigInteger, nullable=False),
        sa.Column("after", DIGEST, nullable=False),
        sa.Column("learned_at", TIME, nullable=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("keyid", name="pk_keys"),
        sa.ForeignKeyConstraint(["enrolment_id"], ["enrolments.id"], name="fk_keys_enrolment_id"),
    )
    op.create_index("ix_keys_enrolment_id", "keys", ["enrolment_id"])
    op.create_table(
        "resolutions",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("site_id", sa.Integer),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("accepted", DIGEST),
        sa.Column("set_aside", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("resolved_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_resolutions"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name="fk_resolutions_site_id"),
    )
    op.create_index("ix_resolutions_site_id", "resolutions", ["site_id"])
    op.create_table(
        "contracts",
        sa.Column("digest", DIGEST, nullable=False),
        sa.Column("imported_at", TIME, nullable=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_contracts"),
    )
    op.create_table(
        "closures",
        sa.Column("site_id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("reason", sa.String(16), nullable=False),
        sa.Column("requested_at", TIME, nullable=False),
        sa.Column("requested_by", sa.Text, nullable=False),
        sa.Column("closed_at", TIME),
        sa.Column("closed_by", sa.Text),
        sa.Column("receipt", sa.LargeBinary),
        sa.Column("keep_until", TIME),
        sa.Column("purged_at", TIME),
        sa.Column("purged", sa.Text),
        sa.PrimaryKeyConstraint("site_id", name="pk_closures"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name="fk_closures_site_id"),
    )
