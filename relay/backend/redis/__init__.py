"""The backend of a fleet: workers that meet in one Redis."""
