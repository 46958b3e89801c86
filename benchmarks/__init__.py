"""Benchmarks: this server beside others under one load. ``python -m benchmarks --help``."""
