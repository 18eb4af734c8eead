"""Clients in other languages, each as its users have it, on two workers: `make test-clients`."""
