"""How events get from any worker to all workers with members in a room."""
