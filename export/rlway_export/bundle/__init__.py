"""What is published with the files of a policy."""
