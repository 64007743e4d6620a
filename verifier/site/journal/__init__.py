"""The journal: its entries, the hash chain, and the state that follows from them."""
