"""The bus, presence and leases of a worker: in this process, or in Redis for a fleet."""
