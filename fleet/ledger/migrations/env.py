"""Alembic's entry: runs migrations on the connection that fleet/ledger/opening.py hands over, in its transaction."""

from alembic import context

from fleet.ledger.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
