"""What every room may use: seeds, signals, locks, deadlines."""
