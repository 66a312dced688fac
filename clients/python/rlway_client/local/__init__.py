"""Actions in this process: the policy on a robot, and its verification."""
