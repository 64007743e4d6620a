"""Version of this release; `make.py` writes the real one."""

VERSION = "0.0.0"
