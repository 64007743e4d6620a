"""Keys, signatures, and the vendor's root, revocations and quorum."""
