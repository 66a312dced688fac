"""One training in several processes: a learner, actors and a replay server."""
