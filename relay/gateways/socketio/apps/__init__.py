"""Applications: the meaning of events.

Every Socket.IO client can emit any event, and its application gives the event a meaning. An application reads the
events of its clients as commands, and writes the relay's events for them. `relay` is that of clients that were written
for this relay, and of all others that just emit events to each other; `signalmaster` is that of SimpleWebRTC. `choice`
picks the application of a client.
"""
