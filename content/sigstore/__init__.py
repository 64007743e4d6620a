"""Signatures of carried images, judged offline."""
