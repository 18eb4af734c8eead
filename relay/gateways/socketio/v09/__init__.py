"""Socket.IO 0.9: a handshake, sessions and packets of its own, from before Engine.IO."""
