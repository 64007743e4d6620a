"""What goes to sites, and what support reads and decides."""
