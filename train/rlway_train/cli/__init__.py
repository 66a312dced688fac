"""The commands `rlway train` and `rlway env`."""
