"""The command `rlway` and the subcommands that need no TensorFlow."""
