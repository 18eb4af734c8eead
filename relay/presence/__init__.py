"""Who is in which room, and which workers are alive."""
