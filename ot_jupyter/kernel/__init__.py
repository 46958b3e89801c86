"""Runs: from the log to a kernel, and what the kernel says back into the log."""
