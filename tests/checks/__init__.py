"""Checks of the code itself that no tool brings: `make lint` and `make coverage` run them."""
