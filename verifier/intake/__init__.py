"""What came in on the medium? Writes what was verified into the site."""
