"""Control loops: an action at every tick of a fixed rate."""
