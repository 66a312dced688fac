"""Starting the server: as one process, or as several workers with a supervisor."""
