"""What does any signed document say, and who vouches for it? Reads only."""
