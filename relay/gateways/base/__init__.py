"""The parts that every gateway shares."""
