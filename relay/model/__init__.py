"""Values and declarations: no input, no output."""
