"""One training, from its plan to its run folder."""
