"""A report that a later one sums up is no gap: numbers are counted by what is known of them."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute("ALTER TABLE standings RENAME COLUMN places_held TO places_known")
    op.execute(
        "UPDATE standings SET places_known = (SELECT count(DISTINCT positions.seq) FROM positions "
        "WHERE positions.enrolment_id = standings.enrolment_id AND NOT positions.refused "
        "AND positions.seq BETWEEN 1 AND standings.newest_seq)"
    )
