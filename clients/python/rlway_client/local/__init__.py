"""Actions in this process: the policy on a robot, and the verification of a bundle's files."""
