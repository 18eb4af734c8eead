"""Values and declarations that every floor uses; no I/O."""
