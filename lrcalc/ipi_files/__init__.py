"""i-PI's files: the only reader and writer of its input, output, extras and cells."""
