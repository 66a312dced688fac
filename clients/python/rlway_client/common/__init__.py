"""What every other room may import: files, muted libraries, words for messages."""
