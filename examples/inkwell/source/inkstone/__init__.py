"""Inkstone: the shared library of the programs of Inkwell Works. It is the lowest layer of their images."""

VERSION = "2.0.0"
