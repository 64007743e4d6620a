"""The client of container registries; the only code of this package that uses a network."""
