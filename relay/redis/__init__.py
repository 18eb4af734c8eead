"""What the Redis bus and the Redis presence share: keys, scripts, and a pipelined connection."""
