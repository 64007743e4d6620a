"""Consignments, what was said by telephone, since when a report can be, and root documents whole."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

DIGEST = sa.String(71)
TIME = sa.String(20)


def upgrade() -> None:
    op.add_column("roots", sa.Column("raw", sa.LargeBinary))
    op.add_column("reports", sa.Column("not_before", TIME))
    op.create_table(
        "consignments",
        sa.Column("digest", DIGEST, nullable=False),
        sa.Column("site_id", sa.Integer, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("challenge", DIGEST, nullable=False),
        sa.Column("issued_at", TIME, nullable=False),
        sa.Column("acknowledged", DIGEST),
        sa.Column("raw", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_consignments"),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name="fk_consignments_site_id"),
        sa.UniqueConstraint("challenge", name="uq_consignments_challenge"),
        sa.UniqueConstraint("site_id", "number", name="uq_consignments_site_id_number"),
    )
    op.create_table(
        "spoken",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("enrolment_id", sa.Integer, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.String(25), nullable=False),
        sa.Column("heard_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_spoken"),
        sa.ForeignKeyConstraint(["enrolment_id"], ["enrolments.id"], name="fk_spoken_enrolment_id"),
    )
    op.create_index("ix_spoken_enrolment_id_seq", "spoken", ["enrolment_id", "seq"])
