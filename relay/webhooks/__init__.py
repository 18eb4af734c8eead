"""The webhook on the wire: the body of a request, its signature, and the request to the operator's server."""
