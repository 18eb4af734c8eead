"""Clients in languages whose tools are not on every machine, on two workers: `make test-clients`.

The programs know the commands that `tests/conformance/programs.py` lists. The cases for Socket.IO clients are those
of `tests/conformance/language_cases.py`, which python-socketio must pass as well.
"""
