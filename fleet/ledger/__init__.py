"""Support's ledger: what the fleet said, in SQLite by default, in PostgreSQL by URL."""
