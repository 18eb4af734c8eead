"""Redis as a cluster: the nodes, their slots, and commands and subscriptions that follow a slot."""
