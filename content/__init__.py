"""The plumbing: the strict tar, the head, OCI layouts and registries."""
