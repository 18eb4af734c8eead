"""The backend of a fleet: bus, presence and leases over one Redis."""
