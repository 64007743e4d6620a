"""What does each named command do? There is no shell."""
