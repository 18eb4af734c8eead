"""WebSync 4: a dialect of Bayeux over long polling, with its subscribers and chat extensions."""
