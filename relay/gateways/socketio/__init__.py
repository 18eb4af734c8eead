"""Socket.IO clients of versions 0.9 to 4, over WebSocket and long polling, in the same rooms as all other clients.

The relay reads and writes these protocols with code of its own, which does no I/O, instead of python-engineio and
python-socketio. Those libraries speak only Engine.IO 4 and encode a message once for each receiver: 110 to 2,083
microseconds for one delivery through Redis, where Node's Socket.IO takes 22 to 84. This gateway encodes a message once
for all members of a room that speak the same version.

From the outside in: `gateway` serves HTTP requests and WebSockets; `engine` and `upgrade` are Engine.IO sessions, over
WebSockets and over the HTTP sessions of `gateways.base`; `packets` and `payload_writer` read and write Engine.IO;
`client` and `namespaces` are a client and its sessions; `parser`, `encoders` and `codec` read and write Socket.IO
packets; `apps` give the events their meaning. `v09` is version 0.9, and `script` redirects to the client's own script.
The rest of the relay sees `declaration`, `settings` and `errors`.
"""
