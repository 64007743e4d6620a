"""Who must agree, who has, and what do they need to see? Reads the site, records verdicts."""
