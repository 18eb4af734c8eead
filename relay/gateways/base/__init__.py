"""The common parts of gateways: admission, WebSockets, and the session with its inbox, acknowledgements and rooms."""
