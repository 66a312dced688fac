"""The operating system: open files, ports, logging, reloaded files, TLS."""
