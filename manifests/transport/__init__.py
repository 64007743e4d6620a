"""How a report travels as text, symbols or speech."""
