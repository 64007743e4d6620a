"""Documents in formats of others, checked and never re-encoded."""
