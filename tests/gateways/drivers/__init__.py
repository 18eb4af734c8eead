"""One driver for each client protocol."""
