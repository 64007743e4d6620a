"""Rows of telemetry with the time at which each is deleted, files that wait, and what was deleted when."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "telemetry",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("enrolment_id", sa.Integer, sa.ForeignKey("enrolments.id"), nullable=False),
        sa.Column("signal", sa.String(128), nullable=False),
        sa.Column("release", sa.String(71), nullable=False),
        sa.Column("start", sa.String(20), nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("seconds", sa.BigInteger, nullable=False),
        sa.Column("values", sa.Text, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("contract", sa.String(71), nullable=False),
        sa.Column("delete_at", sa.String(20), nullable=False, index=True),
        sa.UniqueConstraint("enrolment_id", "signal", "start", "key"),
    )
    op.create_table(
        "telemetry_files",
        sa.Column("digest", sa.String(71), primary_key=True),
        sa.Column("site_id", sa.Integer, sa.ForeignKey("sites.id"), nullable=False, index=True),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("received_at", sa.String(20), nullable=False),
        sa.Column("standing", sa.String(16), nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "deletions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("enrolment_id", sa.Integer, sa.ForeignKey("enrolments.id"), nullable=False, index=True),
        sa.Column("signal", sa.String(128), nullable=False),
        sa.Column("contract", sa.String(71), nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("oldest", sa.String(20), nullable=False),
        sa.Column("newest", sa.String(20), nullable=False),
        sa.Column("deleted_at", sa.String(20), nullable=False),
    )
