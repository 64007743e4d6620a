"""The YAML files that people write, their checks, and what they are compiled to."""
