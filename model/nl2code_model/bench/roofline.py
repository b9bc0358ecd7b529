"""The ceiling of decoding: each token reads all weights once, so memory bandwidth bounds the tokens per second."""

from __future__ import annotations

import ctypes
import json
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from math import prod
from pathlib import Path

from nl2code_server.errors import HostError
from nl2code_server.platform import physical_cores

from ..models.header import read_contents

BLOCK = 512 << 20  # bytes to read: far more than caches hold
PASSES = 3
GPU_SECONDS = 120
BYTES_PER_WEIGHT = 2
"""Of bfloat16, in which the torch engine keeps weights where the hardware has it."""

# In a process of its own, whose memory is free again before a model is loaded. `item` waits for the sum.
GPU = """
import sys, time, torch
device = sys.argv[1]
if device == "auto":
    device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
if device != "cpu":
    block = torch.ones(1 << 30, dtype=torch.float32, device=device)
    took = []
    for _ in range(20):
        started = time.perf_counter()
        block.sum().item()
        took.append(time.perf_counter() - started)
    print(4 * block.numel() / min(took) / 1e9)
"""


class Memory:
    """Main memory, read by as many threads as a model would be."""

    def __init__(self) -> None:
        self._block = ctypes.create_string_buffer(BLOCK)
        # Pages that were never written are all the same one.
        ctypes.memset(self._block, 1, BLOCK)
        library = ctypes.cdll.msvcrt if sys.platform == "win32" else ctypes.CDLL(None)
        self._scan = library.memchr
        self._scan.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
        self._scan.restype = ctypes.c_void_p

    def bandwidth(self) -> float:
        """Return how fast it is read, the best of a few passes, in GB/s."""
        return max(self._pass() for _ in range(PASSES))

    def _pass(self) -> float:
        readers = physical_cores()
        share = BLOCK // readers
        start = ctypes.addressof(self._block)
        # Looking for a zero where there is none reads all; ctypes lets go of the interpreter's lock meanwhile.
        threads = [
            threading.Thread(target=self._scan, args=(start + number * share, 0, share))
            for number in range(readers)
        ]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return share * readers / (time.perf_counter() - started) / 1e9


def gpu_bandwidth(device: str) -> float | None:
    """Return how fast torch reads a GPU's memory, in GB/s; None where the device asked for is the CPU."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", GPU, device],
        capture_output=True,
        text=True,
        timeout=GPU_SECONDS,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise HostError(f"the bandwidth of {device} cannot be measured: {reason}", "use --device cpu")
    return float(done.stdout) if done.stdout.strip() else None


def gguf_bytes(path: Path, *, unpacked: bool = False) -> int:
    """Return what one token reads of a GGUF file's weights: as they are, or unpacked into bfloat16."""
    contents = read_contents(path)
    tensors = sorted(contents.tensors, key=lambda tensor: tensor.offset)
    end = path.stat().st_size - contents.data
    bounds = [tensor.offset for tensor in tensors] + [end]
    sizes = {
        tensor.name: prod(tensor.shape) * BYTES_PER_WEIGHT if unpacked else bounds[number + 1] - tensor.offset
        for number, tensor in enumerate(tensors)
    }
    return sum(sizes[name] for name in _read_per_token(sizes))


def folder_bytes(folder: Path) -> int:
    """Return what one token reads of a folder of safetensors, as bfloat16."""
    sizes: dict[str, int] = {}
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        sizes |= {name: prod(tensor["shape"]) * BYTES_PER_WEIGHT for name, tensor in header.items()}
    return sum(sizes[name] for name in _read_per_token(sizes))


def _read_per_token(names: Iterable[str]) -> list[str]:
    """Leave out the encoder, which runs once, and embeddings: one row of them, unless they make the output too."""
    separate = any(name.startswith(("output.", "lm_head.")) for name in names)
    embeddings = ("token_embd.", "shared.", "model.embed_tokens.", "decoder.embed_tokens.")
    return [
        name
        for name in names
        if not name.startswith("encoder.") and not (separate and name.startswith(embeddings))
    ]
