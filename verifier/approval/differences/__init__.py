"""What differs between two releases, configs, policies or contracts."""
