"""Did the vendor sign this file, and may this site take it? Reads the file it is given, nothing else."""
