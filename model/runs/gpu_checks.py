"""Check and time the torch engine on a GPU. `--help` says how."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "model")]

HELP = """
Checks what only a GPU can show of the torch engine, and times it next to transformers' own ways in the same run.
Weights are made at random in the shapes of Qwen2.5-Coder, so nothing has to be fetched: a checkout, torch and
transformers are all it needs. Each check runs in a process of its own, in order of worth, within 200 seconds;
what it finds is printed, a JSON object a line, and kept in gpu_checks.jsonl in the folder that OUT names, if it does.

  python model/runs/gpu_checks.py                       all of it, within nine minutes
  python model/runs/gpu_checks.py works decode:7b       these alone, in this order
  python model/runs/gpu_checks.py --device cpu works    the same paths on a CPU, to try the script

works         every way of making steps gives the same tokens; captures come after the first answer; a client that
              leaves stops the work within two tokens
decode:SHAPE  tokens per second of each way of making steps, at 1, 4 and 16 answers, next to `generate` as tutorials
              use it and with a static cache and compilation; parts of the roofline that memory bandwidth sets
cold:SHAPE    seconds from a process's start to the first token, with the weights on disk
prompt:SHAPE  prompt tokens per second, and the first token of a prompt that was seen
batch:SHAPE   16 requests that come one after the other, next to transformers' continuous batching

SHAPE is tiny, 0.5b, 1.5b or 7b. `nl2code bench decode --engine torch --random-weights SHAPE` times the whole host.
"""
CHECKS = "works decode:0.5b decode:7b cold:7b batch:0.5b prompt:7b cold:0.5b batch:7b prompt:0.5b decode:1.5b"
TOKENS = 128
CONTEXT = 4096
LIMIT = 200.0
"""Seconds for one check: a peer that hangs must not take all of the time."""
PEERS: dict[str, dict[str, Any]] = {
    "generate": {},
    "generate, static cache and compilation": {"cache_implementation": "static"},
}
WAYS = (
    ("captured fused", (1, 4, 16)),
    ("generate", (1, 4)),
    ("captured library", (1,)),
    ("library", (1,)),
    ("captured compiled", (1,)),
    ("fused", (1,)),
    ("generate, static cache and compilation", (1,)),
)
"""Ours and transformers' ways of making tokens, and for how many answers at once each is timed."""


def main() -> int:
    """Run the checks that are asked for, each in its process."""
    parser = argparse.ArgumentParser(description=HELP, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checks", nargs="*", default=CHECKS.split(), help="which, in this order")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=540, help="for all of them together")
    parser.add_argument("--here", action="store_true", help="run one check in this process")
    asked = parser.parse_args()
    if asked.here:
        for found in run(asked.checks[0], asked.device):
            print(json.dumps(found), flush=True)
        return 0
    end, failed = time.monotonic() + asked.seconds, 0
    for check in asked.checks:
        left = end - time.monotonic()
        if left < 5:
            tell({"check": check, "left_out": "the time is used up"})
            continue
        failed += not in_its_process(check, asked.device, min(left, LIMIT))
    return 1 if failed else 0


def in_its_process(check: str, device: str, seconds: float) -> bool:
    """Run a check; what it found before it failed or ran out of time is told all the same."""
    began = time.monotonic()
    command = [sys.executable, __file__, "--here", "--device", device, check]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        reader = threading.Thread(target=forward, args=(process,))
        reader.start()
        try:
            process.wait(seconds)
            reason = ""
        except subprocess.TimeoutExpired:
            process.kill()
            reason = "the time is used up"
        reader.join()
        process.wait()
        errors.seek(0)
        words = errors.read().strip()
    if process.returncode:
        reason = reason or (words.splitlines() or ["no reason given"])[-1]
        print(words[-4000:], file=sys.stderr)
    tell({"check": check, "seconds": round(time.monotonic() - began, 1), "failed": reason})
    return not reason


def forward(process: subprocess.Popen[str]) -> None:
    """Tell on what a check finds, as it comes."""
    assert process.stdout
    with process.stdout:
        for line in process.stdout:
            if line.startswith("{"):
                tell(json.loads(line))


def tell(found: dict[str, Any]) -> None:
    """Print what was found, and write it where it is kept."""
    line = json.dumps(found)
    print(line, flush=True)
    if out := os.environ.get("OUT"):
        with (Path(out) / "gpu_checks.jsonl").open("a") as file:
            file.write(line + "\n")


def run(check: str, device: str) -> Iterator[dict[str, Any]]:
    """Run one check and give what it finds."""
    kind, _, shape = check.partition(":")
    for found in KINDS[kind](shape, device):
        yield {"check": check, **found}


# --- works ---


def works(_: str, device: str) -> Iterator[dict[str, Any]]:
    """Compare ways of making steps in float32, where rounding does not decide."""
    import torch
    import transformers

    yield {
        "machine": torch.cuda.get_device_name() if device == "cuda" else device,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "bandwidth": round(bandwidth(device), 1),
    }
    texts = {}
    for way in ("library", "fused", "captured library", "captured fused"):
        with decoder_of("tiny", device, way, dtype="float32") as decoder:
            captured_early = bool(decoder.steps.replayed)
            settle(decoder, (1, 3))
            settle(decoder, (1, 3), temperature=0.8)
            before = decoder.steps.replayed
            texts[way] = [
                answers(decoder, count, tokens=40, temperature=temperature)["texts"]
                for count in (1, 3)
                for temperature in (0.0, 0.8)
            ]
            yield {
                "way": way,
                "fused": decoder.fused is not None,
                "same": texts[way] == texts["library"],
                "different_words": len(
                    {word for made in texts[way] for text in made for word in text.split()}
                ),
                "replayed": decoder.steps.replayed - before,
                "captured_early": captured_early,
                "graphs": len(decoder.steps._graphs),
            }
    yield asyncio.run(leaving(device))


async def leaving(device: str) -> dict[str, Any]:
    """Leave an answer of the whole engine; count what is still made for nobody."""
    from nl2code_model.bench import shapes
    from nl2code_model.host.engine import Generation, Message, Usage
    from nl2code_model.host.torch_engine import TorchEngine

    with tempfile.TemporaryDirectory() as folder:
        shapes.write("tiny", Path(folder), device)
        engine = TorchEngine(folder, device=device)
        await engine.start()
        asked = Generation((Message("user", "count"),), max_tokens=1000)
        wasted = []
        for _ in range(5):
            async with aclosing(engine.generate(asked)) as pieces:
                seen = 0
                async for piece in pieces:
                    seen += 0 if isinstance(piece, Usage) else piece.tokens
                    if seen > 50:
                        break
                at_leaving = engine.counts.generated_tokens
            await asyncio.sleep(0.5)
            wasted.append(engine.counts.generated_tokens - at_leaving)
        decoder: Any = engine._decoder
        replayed = decoder.steps.replayed
        await engine.stop()
    return {"way": "leaving", "wasted_tokens": wasted, "replayed": replayed}


# --- decode ---


def decode(shape: str, device: str) -> Iterator[dict[str, Any]]:
    """Time each way of making steps, and transformers' ways, against what memory bandwidth allows."""
    rate = 1e9 * bandwidth(device)
    for way, batches in WAYS:
        timed = _peer if way in PEERS else _ours
        yield from ({"way": way, **found} for found in timed(shape, device, way, batches, rate))
        free(device)


def _ours(
    shape: str, device: str, way: str, batches: tuple[int, ...], rate: float
) -> Iterator[dict[str, Any]]:
    with decoder_of(shape, device, way) as decoder:
        for count in batches:
            began = time.perf_counter()
            settle(decoder, (count,))
            settled = time.perf_counter() - began
            speed = median(answers(decoder, count)["rate"] for _ in range(3))
            yield {
                "batch": count,
                "tokens_per_second": round(speed, 1),
                "roofline": round(speed / count * weight_bytes(decoder._loaded.model) / rate, 3),
                "replayed": decoder.steps.replayed,
                "until_settled": round(settled, 2),
            }


def _peer(
    shape: str, device: str, way: str, batches: tuple[int, ...], rate: float
) -> Iterator[dict[str, Any]]:
    model = loaded(shape, device).model
    for count in batches:
        try:
            first, took = generated(model, count, PEERS[way])
        except Exception as error:  # a peer that cannot run here is a finding
            yield {"batch": count, "failed": str(error).strip().splitlines()[:1]}
            continue
        yield {
            "batch": count,
            "tokens_per_second": round(count * TOKENS / took, 1),
            "roofline": round(TOKENS / took * weight_bytes(model) / rate, 3),
            "first_call": round(first, 1),
        }


def generated(model: Any, batch: int, options: dict[str, Any]) -> tuple[float, float]:
    """Return the seconds of the first call of `generate`, and of a later one."""
    import torch

    prompt = torch.randint(0, 200, (batch, 64), device=model.device)
    took = []
    for _ in range(4):
        began = time.perf_counter()
        model.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=TOKENS, do_sample=False, **options
        )
        synchronize(model.device.type)
        took.append(time.perf_counter() - began)
    return took[0], median(took[1:])


# --- cold, prompt, batch ---


def cold(shape: str, device: str) -> Iterator[dict[str, Any]]:
    """Start processes that load a folder and answer."""
    from nl2code_model.bench import shapes

    program = (
        "import asyncio, sys, time; began = time.perf_counter(); sys.path[:0] = sys.argv[3:]\n"
        "from nl2code_model.host.torch_engine import TorchEngine\n"
        "from nl2code_model.host.engine import Generation, Message\n"
        "async def main():\n"
        "    engine = TorchEngine(sys.argv[1], device=sys.argv[2])\n"
        "    await engine.start(); loaded = time.perf_counter() - began\n"
        "    asked = Generation((Message('user', 'x' * 500),), max_tokens=8)\n"
        "    async for _ in engine.generate(asked):\n"
        "        print(loaded, time.perf_counter() - began, flush=True); break\n"
        "    await engine.stop()\n"
        "asyncio.run(main())\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        shapes.write(shape, Path(folder), device)
        yield {"written_in": round(time.perf_counter() - began, 1)}
        free(device)
        for _ in range(3):
            began = time.perf_counter()
            command = [sys.executable, "-c", program, folder, device, *sys.path[:2]]
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
            ready, first = map(float, done.stdout.split()[:2])
            yield {"loaded": round(ready, 2), "first_token": round(first, 2)}


def prompt(shape: str, device: str) -> Iterator[dict[str, Any]]:
    """Time prompts of several lengths, new and seen."""
    with decoder_of(shape, device, "captured fused") as decoder:
        settle(decoder, (1,))
        for length in (256, 1024, 3072):
            new = [answers(decoder, 1, tokens=1, length=length)["first"] for _ in range(4)][1:]
            seen = [answers(decoder, 1, tokens=1, length=length, same=True)["first"] for _ in range(4)][1:]
            yield {
                "prompt_tokens": length,
                "tokens_per_second": round(length / median(new)),
                "first_token_ms": round(1e3 * median(new), 1),
                "first_token_seen_ms": round(1e3 * median(seen), 1),
            }


def batch(shape: str, device: str) -> Iterator[dict[str, Any]]:
    """Let requests come one after the other, as from editors."""
    with decoder_of(shape, device, "captured fused") as decoder:
        settle(decoder, (1, 2, 4, 8, 16))
        found = [answers(decoder, 16, apart=4) for _ in range(3)]
        yield {
            "way": "ours",
            "tokens_per_second": round(median(each["rate"] for each in found), 1),
            "longest_first_ms": round(1e3 * median(each["first"] for each in found), 1),
        }
    import torch
    from transformers import GenerationConfig

    model = loaded(shape, device).model
    prompts = torch.randint(0, 200, (16, 64)).tolist()
    config = GenerationConfig(max_new_tokens=TOKENS, do_sample=False, eos_token_id=-1, pad_token_id=0)
    took = []
    for _ in range(2):
        began = time.perf_counter()
        model.generate_batch(inputs=prompts, generation_config=config)
        took.append(time.perf_counter() - began)
    yield {"way": "transformers' continuous batching", "tokens_per_second": round(16 * TOKENS / min(took), 1)}


# --- what they share ---

KINDS: dict[str, Callable[[str, str], Iterator[dict[str, Any]]]] = {
    "works": works,
    "decode": decode,
    "cold": cold,
    "prompt": prompt,
    "batch": batch,
}


def loaded(shape: str, device: str, dtype: str = "bfloat16") -> Any:
    """Make a model at random, as the engine holds a loaded one."""
    import torch

    from nl2code_model.bench import shapes
    from nl2code_model.host.torch_load import Loaded

    where = torch.device(device)
    model, tokenizer = shapes.model(shape, device, dtype), shapes.tokenizer(shape)
    return Loaded(model, tokenizer, where, getattr(torch, dtype), False, frozenset(), CONTEXT)


@contextmanager
def decoder_of(shape: str, device: str, way: str, dtype: str = "bfloat16") -> Iterator[Any]:
    """Make the decoding loop around a random model, its steps made in one way."""
    import torch

    from nl2code_model.host.engine import Counts
    from nl2code_model.host.torch_block import Fused
    from nl2code_model.host.torch_causal import Causal
    from nl2code_model.host.torch_text import Text

    made = loaded(shape, device, dtype)
    text = Text(made.tokenizer, system="", encoder_decoder=False)
    # A CPU has no graphs: there the step itself stands for one.
    capture = None if device == "cuda" else lambda step: step
    decoder = Causal(made, text, Counts(), rows=16, context=CONTEXT, ahead=True, capture=capture)
    with torch.inference_mode():
        decoder.warm_up()
    if "captured" not in way:
        decoder.steps.stay_eager()
    if "library" in way:
        decoder.fused = None
    if "compiled" in way and isinstance(decoder.fused, Fused):
        decoder.fused.layer = torch.compile(decoder.fused.layer, dynamic=False)
    try:
        yield decoder
    finally:
        del decoder, made
        free(device)


def settle(decoder: Any, counts: tuple[int, ...], temperature: float = 0.0) -> None:
    """Let a decoder meet what will be timed, and capture it as it would while nobody asks."""
    import torch

    for count in counts:
        for _ in range(2):
            answers(decoder, count, temperature=temperature)
            with torch.inference_mode():
                while decoder.prepare():
                    pass


def answers(
    decoder: Any,
    count: int,
    *,
    tokens: int = TOKENS,
    length: int = 64,
    temperature: float = 0.0,
    same: bool = False,
    apart: int = 0,
) -> dict[str, Any]:
    """Ask for so many answers, at once or some steps apart; return texts, tokens per second and the first's delay."""
    return asyncio.run(_answers(decoder, count, tokens, length, temperature, same, apart))


async def _answers(
    decoder: Any, count: int, tokens: int, length: int, temperature: float, same: bool, apart: int
) -> dict[str, Any]:
    import torch

    from nl2code_model.host.engine import Chunk, Generation, Message
    from nl2code_model.host.torch_job import Job

    jobs, texts, firsts, rounds = [], [""] * count, {}, 0
    began = time.perf_counter()
    with torch.inference_mode():
        while len(jobs) < count or decoder.busy:
            while len(jobs) < count and rounds >= apart * len(jobs):
                mark = "same" if same else f"{len(jobs)} {time.time_ns() if tokens == 1 else ''}"
                message = Message("user", f"{mark} {'x' * length}"[:length])
                asked = Generation((message,), max_tokens=tokens, temperature=temperature, seed=len(jobs))
                jobs.append((Job(asked), time.perf_counter()))
                decoder.admit(jobs[-1][0])
            decoder.round()
            rounds += 1
            await asyncio.sleep(0)
            for number, (job, asked_at) in enumerate(jobs):
                while not job.sent.empty():
                    piece = job.sent.get_nowait()
                    if isinstance(piece, Exception):
                        raise piece
                    if isinstance(piece, Chunk):
                        firsts.setdefault(number, (time.perf_counter() - asked_at, time.perf_counter()))
                        texts[number] += piece.text
    end = time.perf_counter()
    start = began if apart else max(at for _, at in firsts.values())
    made = count * tokens if apart else count * max(tokens - 1, 1)
    first = max(delay for delay, _ in firsts.values())
    return {"texts": texts, "rate": made / (end - start), "first": first}


def weight_bytes(model: Any) -> int:
    """Return what a token reads of the weights: of embeddings a row, unless they make the output too."""
    tied = model.config.tie_word_embeddings
    sizes = {name: value.numel() * value.element_size() for name, value in model.named_parameters()}
    return sum(size for name, size in sizes.items() if tied or "embed_tokens" not in name)


def bandwidth(device: str) -> float:
    """Return how fast memory is read, in GB/s."""
    import torch

    block = torch.ones((1 << 30) if device == "cuda" else (1 << 26), dtype=torch.float32, device=device)
    took = []
    for _ in range(10):
        synchronize(device)
        began = time.perf_counter()
        block.sum()
        synchronize(device)
        took.append(time.perf_counter() - began)
    return float(4 * block.numel() / min(took) / 1e9)


def synchronize(device: str) -> None:
    """Wait for the device."""
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


def free(device: str) -> None:
    """Give memory back."""
    import torch

    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()


if __name__ == "__main__":
    sys.exit(main())
