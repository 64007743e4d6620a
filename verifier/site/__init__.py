"""What is this site, on disk and in its journal? Works in the site's folder."""
