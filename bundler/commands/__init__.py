"""The commands `build`, `kit`, `init` and `trust`, one module for each."""
