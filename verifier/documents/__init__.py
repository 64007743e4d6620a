"""What any signed document says, and whether its signatures hold. Reads only."""
