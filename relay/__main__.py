"""`python -m relay` runs the command `relay`."""

from relay.cli import main

main(prog_name="relay")
