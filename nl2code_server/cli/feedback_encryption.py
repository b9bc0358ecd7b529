"""`nl2code feedback encrypt` and `decrypt`: rewrite the log under a key, or plain again."""

from __future__ import annotations

import typer

from .. import config
from ..errors import Nl2CodeError
from ..feedback import convert, keys
from ..feedback.log import database
from ..feedback.store import Store
from ..platform import paths


def encrypt() -> None:
    """Encrypt the feedback log now, with a key in the system's keyring or in `encryption_key_file`.

    Nothing is lost, and running servers go on with it. With `encrypt = true` in the settings, a server does this by
    itself. Older copies of the file, such as backups, stay as they are.
    """
    settings = config.load().settings
    path = database(settings)
    was = keys.key_name(path)
    with Store(path, encrypt=True) as store:
        _tell(store.notice)
    place = settings.encryption_key_file or f"the keyring, as {keys.SERVICE} {keys.key_name(path)}"
    typer.echo(f"{path} {'was encrypted already' if was else 'is encrypted'}; the key is in {place}.")
    if not settings.encrypt:
        typer.echo(f"To keep new ones so too: echo 'encrypt = true' >> {paths().config_file}")


def decrypt() -> None:
    """Make the feedback log a plain file again. The key stays where it is: backups need it."""
    settings = config.load().settings
    if settings.encrypt:
        raise Nl2CodeError(
            "The next server would encrypt it again: encrypt is true", "Set encrypt = false first"
        )
    path = database(settings)
    if not keys.key_name(path):
        typer.echo(f"{path} is not encrypted.")
        return
    with Store(path) as store:
        _tell(store.notice)
    convert.decrypt(path)
    typer.echo(f"{path} is no longer encrypted.")


def _tell(notice: str) -> None:
    if notice:
        typer.secho(f"warning: {notice}", fg="yellow", err=True)
