"""The subcommands of `rlway` that need nothing but this package: one module a command."""
