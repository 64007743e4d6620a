"""Looks at the host itself: what it has, and whether that is what a release needs."""
