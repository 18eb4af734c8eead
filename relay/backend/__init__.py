"""How events travel between workers, and where room presence is kept: in this process, or in Redis."""
