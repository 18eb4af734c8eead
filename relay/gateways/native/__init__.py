"""The relay's own protocol: JSON in text frames."""
