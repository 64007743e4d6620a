"""The vendor's side: collect, write, sign, and the kit."""
