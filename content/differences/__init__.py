"""What is in a release, and what differs between two releases, configs, policies or contracts."""
