"""What is measured and written down: metrics, drift, traces, the access log."""
