"""Small things that every room may use: seeds, signals, locks, deadlines, quiet libraries."""
