"""Inkwell: documents wait in a queue until the site's key has signed them."""
