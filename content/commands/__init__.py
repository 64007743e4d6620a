"""The commands keygen, sign and lint."""
