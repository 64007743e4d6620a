"""Words of the format: errors, digests, canonical JSON, units, versions, text."""
