"""What commands share: results, output, options, progress, passphrases."""
