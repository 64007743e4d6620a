"""Probes: whether what was installed works."""
