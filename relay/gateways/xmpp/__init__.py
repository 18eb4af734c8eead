"""The gateway for XMPP: clients such as strophe.js, @xmpp/client and stanza meet in rooms as in a MUC.

A room of the relay is the MUC room (XEP-0045) of the same name below `conference.DOMAIN`, and a nick is a peer id. A
message to the room is an envelope: its body, where that is a JSON object, else `{"message": BODY}`. Stanzas between two
occupants, such as those of Jingle, are direct messages, whose elements pass byte for byte.

From the outside in: `gateway` serves the WebSocket (RFC 7395); `codec` reads frames; `negotiation` opens the stream,
logs the client in and binds its resource; `stream_session` and `session` are the client's session; `occupancies` are
the rooms that it is in; `requests` answers its IQs. `stream_management`, `checkpoint` and `resumption` are for clients
that lose their connection. `reading`, `writing` and `jids` are XML and addresses, `envelopes` and `stanzas` translate
between both sides.
"""
