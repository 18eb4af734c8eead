"""Settings in, running worker processes out."""
