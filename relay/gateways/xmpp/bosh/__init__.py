"""XMPP over HTTP requests: BOSH (XEP-0124, XEP-0206), for clients whose network lets no WebSocket through.

`gateway` serves the requests, of which any worker forwards those of another one's sessions. `body` reads their
elements and writes the responses. `window` has their order, and `keys` the proofs of their sender. `session` is one
client: the session of `relay.gateways.xmpp.session` over a connection that is polled.
"""
