"""Redis as a cluster: the nodes, who has which slot, and commands and subscriptions that follow a slot."""
