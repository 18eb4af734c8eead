"""The processes of the relay: one worker that serves, or a supervisor with several."""
