"""How the world talks to the sequencer: REST and WebSocket on jupyter_server."""
