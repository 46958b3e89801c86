"""One client per protocol, and the servers that have to be brought along.

The clients need no more than tornado's Python needs: they also run in the virtual environment of
another server (see ``install.py``), where ``ot_jupyter`` is not installed.
"""
