"""What came on the medium: verified, and written into the site."""
