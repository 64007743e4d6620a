"""The documents: words, values, canonical bytes, trust. Pure; imports nothing of ours."""
