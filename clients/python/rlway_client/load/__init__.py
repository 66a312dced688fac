"""The load test: many connections to a policy server, in any protocol that it speaks; throughput and latency."""
