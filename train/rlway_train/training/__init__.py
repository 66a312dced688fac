"""One training from plan to run folder: plan, session, loop, evaluations, progress."""
