"""Inkstone: what the programs of Inkwell Works have in common. It is the lowest layer of their images."""

VERSION = "2.0.0"
