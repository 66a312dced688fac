"""What people look at: curves, comparisons, pictures, films."""
