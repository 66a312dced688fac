"""What a path is, who wrote it, and what an export of it would do, before any export."""
