"""What reports mean: values in, findings out, without the ledger and without a clock."""
