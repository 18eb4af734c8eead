"""ASP.NET SignalR 2.x: its jQuery client over WebSockets, Server-Sent Events and long polling, at `/signalr`.

A hub's methods are broadcasts of the room. The connection token names the client's place, as the resume key of plain
HTTP does, and the cursor of the protocol is an id of the room; so each request may reach any worker.

`hubs` are the hubs that clients may name, and `script` writes their proxies. `tokens` makes and reads connection
tokens, `request` reads a request, and `negotiation` writes the first answer. `codec` and `invocations` translate calls.
`sockets`, `answers` and `polls` are for the three transports, and `gateway` serves the requests.
"""
