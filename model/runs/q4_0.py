"""Requantise a GGUF model to Q4_0, to measure what the speed costs in right answers.

    python model/runs/q4_0.py qwen2.5-coder-0.5b OUT.gguf
    NL2CODE_MODEL=OUT.gguf nl2code eval TASKS.json --with threads=2

llama.cpp repacks Q4_0 for the vectors of the CPU at hand. Matrices of layers become Q4_0, with `--output` the last
one too; embeddings and all that is no matrix stay as they are, with the file's own metadata. From a file that is
quantised already the loss adds up: this is an upper bound of what Q4_0 costs, and needs no download.
Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path

CHUNK = 1 << 22  # values unpacked at a time


def requantise(source: Path, target: Path, *, output: bool = False) -> dict[str, object]:
    """Write `source` with its layers' matrices in Q4_0 and return what was done."""
    import numpy as np
    from gguf import GGUFReader, GGUFWriter
    from gguf.constants import GGMLQuantizationType as Kind
    from gguf.constants import GGUFValueType
    from gguf.quants import dequantize, quantize

    started, kinds = time.monotonic(), Counter[str]()
    reader = GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    writer = GGUFWriter(target, architecture)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        kind, inner = field.types[0], field.types[-1] if len(field.types) > 1 else None
        value = 2 if name == "general.file_type" else field.contents()  # 2: mostly Q4_0
        writer.add_key_value(name, value, GGUFValueType(kind), sub_type=inner)
    changed = [_changes(tensor.name, list(tensor.shape), output) for tensor in reader.tensors]
    for tensor, changes in zip(reader.tensors, changed, strict=True):
        kind = Kind.Q4_0 if changes else tensor.tensor_type
        data = tensor.data
        if changes:
            width = int(tensor.shape[0])
            rows = max(1, CHUNK // width)
            parts = [
                quantize(dequantize(data[at : at + rows], tensor.tensor_type), Kind.Q4_0)
                for at in range(0, len(data), rows)
            ]
            data = np.concatenate(parts)
        kinds[kind.name] += int(data.nbytes)
        writer.add_tensor(tensor.name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return {
        "source": source.name,
        "target": str(target),
        "bytes": target.stat().st_size,
        "was": source.stat().st_size,
        "by_kind": dict(kinds),
        "seconds": round(time.monotonic() - started, 1),
    }


def _changes(name: str, shape: list[int], output: bool) -> bool:
    inside = name.startswith("blk.") and name.endswith(".weight")
    return (inside or (output and name == "output.weight")) and len(shape) == 2 and shape[0] % 32 == 0


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="an id of the catalog or a GGUF file")
    parser.add_argument("target", type=Path)
    parser.add_argument("--output", action="store_true", help="requantise the output's matrix too")
    given = parser.parse_args()

    from nl2code_model.models.catalog import locate

    given.target.parent.mkdir(parents=True, exist_ok=True)
    print(json.dumps(requantise(locate(given.model).path, given.target, output=given.output)))


if __name__ == "__main__":
    main()
