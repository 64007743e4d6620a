"""What people decide: branches, renewals, quarantine, closures; which consignment lay on a medium; contracts."""

import sqlalchemy as sa
from alembic import op

from fleet.ledger.tables import required

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
        sa.Column("keyid", sa.String(64), primary_key=True),
        sa.Column("enrolment_id", sa.Integer, sa.ForeignKey("enrolments.id"), nullable=False),
        *required(key_epoch=sa.BigInteger, after_seq=sa.BigInteger, after=DIGEST, learned_at=TIME, raw=sa.LargeBinary),
    )
    op.create_index("ix_keys_enrolment_id", "keys", ["enrolment_id"])
    op.create_table(
        "resolutions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("site_id", sa.Integer, sa.ForeignKey("sites.id")),
        *required(kind=sa.String(16)),
        sa.Column("accepted", DIGEST),
        *required(set_aside=sa.Text, reason=sa.Text, who=sa.Text, resolved_at=TIME),
    )
    op.create_index("ix_resolutions_site_id", "resolutions", ["site_id"])
    op.create_table(
        "contracts", sa.Column("digest", DIGEST, primary_key=True), *required(imported_at=TIME, raw=sa.LargeBinary)
    )
    op.create_table(
        "closures",
        sa.Column("site_id", sa.Integer, sa.ForeignKey("sites.id"), primary_key=True, autoincrement=False),
        *required(reason=sa.String(16), requested_at=TIME, requested_by=sa.Text),
        sa.Column("closed_at", TIME),
        sa.Column("closed_by", sa.Text),
        sa.Column("receipt", sa.LargeBinary),
        sa.Column("keep_until", TIME),
        sa.Column("purged_at", TIME),
        sa.Column("purged", sa.Text),
    )
