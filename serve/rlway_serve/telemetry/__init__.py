"""What the server measures and records: metrics, drift, traces, the access log."""
