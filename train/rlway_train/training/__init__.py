"""One training from its settings to its run folder."""
