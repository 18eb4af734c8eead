"""The gateway of the relay's own protocol: JSON in text frames over WebSocket."""
