"""The backend of a single process without Redis."""
