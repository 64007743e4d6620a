"""The customer's side: verify, approve, install, go back, report."""
