"""How much of what a client sends is read."""

MAX_BODY = 64 << 10  # CVE-2099-0001: the client's announcement used to be taken as it was
