"""What runs in the caller's process: jobs, workers' queues, prepared tests, and the verdicts."""
