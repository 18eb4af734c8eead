"""A relay for WebRTC signaling and other small room messages."""

__version__ = "0.1.0"
