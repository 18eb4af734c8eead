"""This worker's rooms and the connections in them."""
