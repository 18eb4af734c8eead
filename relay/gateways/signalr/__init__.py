"""ASP.NET Core SignalR: hub connections over WebSockets, Server-Sent Events and long polling, at `/signalr`.

A client negotiates first (`negotiation`), and gets a `connection_token`, which any worker can verify. `gateway` takes
the requests of all transports. `messages` reads and `protocols` writes hub messages, in JSON and in MessagePack;
`handshake` reads the first one, which chooses between them. `methods` are the hub methods, `codec` gives the messages
their meaning, `session` serves a client, over a WebSocket or as `polled` says, `places` are the proofs with which a
client gets its place back, and `returning` finds the place of one that names none.
"""
