"""What every document uses: errors, digests, canonical JSON, units, versions, text."""
