"""Consignments, telephone claims, the earliest time of a report, and whole root documents."""

import sqlalchemy as sa
from alembic import op

from fleet.ledger.tables import required

revision = "0002"
down_revision = "0001"

DIGEST = sa.String(71)
TIME = sa.String(20)


def upgrade() -> None:
    op.add_column("roots", sa.Column("raw", sa.LargeBinary))
    op.add_column("reports", sa.Column("not_before", TIME))
    op.create_table(
        "consignments",
        sa.Column("digest", DIGEST, primary_key=True),
        sa.Column("site_id", sa.Integer, sa.ForeignKey("sites.id"), nullable=False),
        *required(number=sa.BigInteger),
        sa.Column("challenge", DIGEST, unique=True, nullable=False),
        *required(issued_at=TIME),
        sa.Column("acknowledged", DIGEST),
        *required(raw=sa.LargeBinary),
        sa.UniqueConstraint("site_id", "number"),
    )
    op.create_table(
        "spoken",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("enrolment_id", sa.Integer, sa.ForeignKey("enrolments.id"), nullable=False),
        *required(seq=sa.BigInteger, digest=sa.String(25), heard_at=TIME),
    )
    op.create_index("ix_spoken_enrolment_id_seq", "spoken", ["enrolment_id", "seq"])
