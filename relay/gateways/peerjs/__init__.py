"""The gateway for PeerJS: the protocol of PeerServer, to which pages connect with `new Peer(id, {host, port, path})`.

A PeerServer is a room, and the id of a `Peer` is a peer id. The token of a `Peer` is the secret of its place in the
room: its digest is the resume key. Offers, answers and candidates are direct messages in the channel `peerjs`, so that
native clients can call a page, and be called. All other messages of the room reach a page in frames of the type
`RELAY`, which PeerJS leaves to the page.
"""
