"""Identity and rights: which client may do what. Pure: values in, values or errors out; nothing here reads a socket."""
