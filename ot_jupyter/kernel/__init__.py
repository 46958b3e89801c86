"""What is ours between a run request and its outputs. Nothing runs here yet."""
