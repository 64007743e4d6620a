"""The format: documents, canonical bytes, keys and trust; imports nothing of ours."""
