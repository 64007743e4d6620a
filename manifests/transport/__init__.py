"""How a report travels as text, symbols or by telephone."""
