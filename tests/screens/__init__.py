"""Golden files of what commands print: on terminals of three widths, and without a terminal."""
