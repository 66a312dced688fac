"""What is found out about a policy and about the files that are made of it, before they are published."""
