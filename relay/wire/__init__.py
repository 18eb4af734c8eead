"""What stands between a socket and the application: HTTP, the WebSocket handshake, frames, and pings."""
