"""Signers, and what they sign."""
