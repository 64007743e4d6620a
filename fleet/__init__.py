"""Support's side: what came back from the sites, and what it means."""
