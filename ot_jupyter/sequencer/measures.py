"""What operators can watch. The metrics live in prometheus_client's default registry, which
jupyter_server serves at ``/metrics``."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

open_documents = Gauge("ot_jupyter_open_documents", "Documents that are open on this server")
clients = Gauge("ot_jupyter_clients", "Sockets that follow a document, counted per document")
entries = Counter("ot_jupyter_entries", "Entries that became true on this server")
transforms = Counter("ot_jupyter_transforms", "Submissions transformed over one entry")
retries = Counter("ot_jupyter_retries", "Appends thrown away because another server was first")
append_seconds = Histogram(
    "ot_jupyter_append_seconds",
    "From asking the log to its answer, seconds",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
)
queue_bytes = Gauge("ot_jupyter_queue_bytes", "Bytes of log that wait for slow sockets")
