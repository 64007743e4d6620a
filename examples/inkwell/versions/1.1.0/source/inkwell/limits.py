"""Limit on the size of a request body."""

MAX_BODY = 64 << 10  # CVE-2099-0001: 1.0.0 read as many bytes as the client announced
