"""What is ours between a run request and its outputs."""
