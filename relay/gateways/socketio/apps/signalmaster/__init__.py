"""SignalMaster: the server of SimpleWebRTC 2 and 3.

`requests` reads the events of its clients, `client` carries them out, and `packets` writes the relay's events for them.
`resources` is the member info by which a client says which kinds of media it sends.
"""
