"""Support's ledger, in SQLite by default, in PostgreSQL by URL."""
