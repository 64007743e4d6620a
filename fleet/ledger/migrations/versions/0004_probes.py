"""Which probes of the running release fail, so that a list of sites need not read every report."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("reports", sa.Column("failing", sa.Text))
