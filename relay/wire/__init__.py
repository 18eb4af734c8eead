"""From the socket to the application: HTTP, the WebSocket handshake, frames and pings."""
