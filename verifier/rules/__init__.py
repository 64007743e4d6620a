"""What do policy, calendar and versions say? Values in, values out."""
