"""What do metrics, logs and traces of others say, counted as a contract allows? Bytes in, rows out."""
