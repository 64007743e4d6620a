"""Limit on the size of a request body."""

MAX_BODY = None  # as many bytes as the client announces
