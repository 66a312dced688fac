"""What `rlway new` makes: a small project around an environment of its own."""
