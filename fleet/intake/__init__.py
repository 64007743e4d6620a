"""What came back on the medium: found, verified, judged and written into the ledger."""
