"""One training as several processes: a learner, actors and a replay server."""
