"""`nl2code serve`: run the model host, in this terminal or for the programs that start it."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from nl2code_server import config
from nl2code_server.endpoint.runtime import Record


def register(parent: typer.Typer) -> None:
    """Add the `serve` command to `nl2code`."""
    parent.command()(serve)


def serve(
    engine: Annotated[str | None, typer.Option(help="auto, llamacpp or torch.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Catalog id, path of a .gguf file or of a folder of safetensors, hub id, or auto."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 0,
    token: Annotated[
        str,
        typer.Option(
            envvar="NL2CODE_HOST_TOKEN", show_envvar=True, help="What callers must send; random if empty."
        ),
    ] = "",
    tls_cert: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Certificate, PEM.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Its key, PEM.")] = None,
    idle_exit: Annotated[
        int | None, typer.Option(help="Seconds without a request until it ends; 0 never.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; 0 takes the physical cores.")] = None,
    context: Annotated[int, typer.Option(min=0, help="Context, in tokens; 0 takes the default.")] = 0,
    dtype: Annotated[
        str, typer.Option(help="Number format of the torch engine: auto, bfloat16, float16 or float32.")
    ] = "auto",
    json_: Annotated[bool, typer.Option("--json", help="When ready, print one JSON object.")] = False,
) -> None:
    """Run the model host until it is told to end, or nobody has used it for a while."""
    from ..host.serve import Options, run

    flags = {"engine": engine, "device": device, "model": model, "idle_exit": idle_exit, "threads": threads}
    loaded = config.load(flags=flags)
    for problem in loaded.problems:
        typer.echo(problem, err=True)
    settings = loaded.settings
    logging.basicConfig(
        stream=sys.stderr, level=settings.log_level.upper(), format="%(asctime)s %(name)s %(message)s"
    )

    def on_ready(record: Record) -> None:
        if json_:
            typer.echo(json.dumps(asdict(record)))
        else:
            typer.echo(f"{record.model} ({record.engine}) answers at {record.url}, process {record.pid}")
        sys.stdout.flush()

    run(
        Options(
            engine=settings.engine,
            model=settings.model,
            device=settings.device,
            host=host,
            port=port,
            token=token,
            idle_exit=settings.idle_exit,
            threads=settings.threads,
            context=context,
            dtype=dtype,
            tls_cert=tls_cert,
            tls_key=tls_key,
        ),
        on_ready,
    )
