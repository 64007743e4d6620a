"""What goes out, and what does the operator see? Signs with the site key, writes outbox/."""
