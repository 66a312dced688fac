"""The operating system: open files, ports, logging, reloading."""
