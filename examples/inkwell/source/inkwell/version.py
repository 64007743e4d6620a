"""Which release this is; `make.py` writes the release's own."""

VERSION = "0.0.0"
