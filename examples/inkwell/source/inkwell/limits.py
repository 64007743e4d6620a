"""How much of what a client sends is read."""

MAX_BODY = None  # as many bytes as the client announces
