"""The file format of a bundle: tar, head, bulk, OCI documents."""
