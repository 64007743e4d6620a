"""What would this install or rollback do, and what comes next? Reads the site, writes nothing."""
