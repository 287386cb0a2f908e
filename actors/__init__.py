"""The method's objects as Ray actors: placement and streaming around `fusion`, and no mathematics."""
