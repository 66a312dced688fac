"""What `rlway doctor` looks at: versions, runtimes, the machine, ports and the models folder."""
