"""The signed documents: their values, and how they are read, checked and signed."""
