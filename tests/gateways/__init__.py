"""The behaviour table: clients of every gateway, driven over the wire, behave alike where their protocols allow it."""
