"""The gateway of SIP over WebSocket (RFC 7118): a registrar and a proxy for the members of a room.

`message` splits a SIP message and copies all that it does not understand, `fields` reads the few fields that count.
`registrar` makes a client a member of its room, and `digest` checks its password. `proxy` forwards its requests by
`transactions`, and the responses of others by the `via` that it has put into their requests. `room_messages` has the
text messages between the clients of this gateway and all others.

A SIP message between two members is a direct envelope in the channel "sip", whose message is the text. The transactions
of a client are in the memory of its own worker alone: everything that another worker needs is in the message.
"""
