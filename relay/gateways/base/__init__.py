"""What gateways share: admission, serving a WebSocket, and the session with its inbox, acknowledgements and rooms."""
