"""llama.cpp's own HTTP server in a process of its own: it may crash, hang or be killed, and the host lives on.

Reads one line of JSON on stdin, prints `READY {...}` once the model is loaded, and ends when its stdin does.
"""

from __future__ import annotations

import json
import os
import sys

from nl2code_server.platform import confine, lower_priority, total_memory

SPARE = 4 << 30
"""Bytes of address space for libraries and stacks."""


def main() -> None:
    asked = json.loads(sys.stdin.readline())
    lower_priority()
    import xllamacpp

    size = os.stat(asked["path"]).st_size  # noqa: PTH116 - a path of a system, not of a person
    # Mapped, and once more as some processors want it. A header that asks for more than there is gets an error.
    confine(total_memory() + 2 * size + SPARE)
    params = xllamacpp.CommonParams()
    params.model.path = asked["path"]
    params.model_alias = {asked["model"]}
    params.n_ctx = asked["context"]
    params.n_parallel = asked["slots"]
    # Without this each slot would get its share of the context; with it each may use all.
    params.kv_unified = True
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = asked["threads"]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [asked["key"]]
    params.cors_origins = ""
    params.ui = False
    params.endpoint_metrics = True
    # How soon a closed connection is noticed.
    params.sse_ping_interval = 1
    # The host keeps track of what each slot holds; a second cache would only take memory (8 GiB by default).
    params.cache_ram_mib = 0
    if asked["adapter"]:
        adapter = xllamacpp.CommonAdapterLoraInfo()
        adapter.path, adapter.scale = asked["adapter"], 1.0
        params.lora_adapters = [adapter]
    server = xllamacpp.Server(params)
    print("READY", json.dumps({"url": server.listening_address}), flush=True)
    sys.stdin.read()
    # Tearing the server down can block while a stream is open: ending the process cannot.
    os._exit(0)


if __name__ == "__main__":
    main()
