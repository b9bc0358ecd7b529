"""One language server for one client: what it is made of, how it begins and ends."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, cast

from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer

from .. import __version__
from ..errors import Nl2CodeError
from . import workspace
from .clients import read_client
from .preload import feature_module
from .session import Session
from .status import Report, State
from .transport import Protocol, converter

log = logging.getLogger(__name__)

_SECTION = "nl2code"
_CONFIGURATION_SECONDS = 5.0
_SETTLED_SECONDS = 2.0
# As in Copilot's language server, so that its clients understand them.
_KINDS = {State.PROBLEM: "Warning"}


class NoAnswer(Nl2CodeError):
    """The client did not answer, or refused."""


class Server(LanguageServer):
    """A language server with its session."""

    def __init__(self, flags: Mapping[str, Any]) -> None:
        super().__init__(
            "nl2code",
            __version__,
            protocol_cls=Protocol,
            converter_factory=converter,
            notebook_document_sync=lsp.NotebookDocumentSyncOptions(
                notebook_selector=[
                    lsp.NotebookDocumentFilterWithNotebook(
                        notebook="*", cells=[lsp.NotebookCellLanguage(language="python")]
                    )
                ],
                save=True,
            ),
        )
        self.session = Session(self, flags)
        cast("Protocol", self.protocol).on_close = self.session.close
        cast("Protocol", self.protocol).on_change = self.session.changed

    async def ask(self, method: str, params: Any, *, seconds: float) -> Any:
        """Send a request to the client; raise `NoAnswer` when no usable answer comes in time."""
        request = str(uuid.uuid4())
        future = self.protocol.send_request(method, params, msg_id=request)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), seconds)
        except TimeoutError:
            raise NoAnswer(f"The editor did not answer {method} within {seconds:g} s") from None
        except JsonRpcException as error:
            raise NoAnswer(f"The editor refused {method}: {error}") from None
        finally:
            # A late answer finds nobody who waits, instead of a future that is over.
            self.protocol._request_futures.pop(request, None)

    def tell_status(self, report: Report) -> None:
        """Send the status, in the form that Copilot's clients know."""
        params: dict[str, Any] = {
            "busy": report.busy,
            "kind": _KINDS.get(report.state, "Normal"),
            "message": report.text,
        }
        if report.state is State.PROBLEM:
            params["command"] = {"title": "Show the status", "command": "nl2code.status"}
        self.protocol.notify("didChangeStatus", params)

    def warn(self, text: str) -> None:
        """Show a warning to the user."""
        self.window_show_message(lsp.ShowMessageParams(type=lsp.MessageType.Warning, message=text))

    def report_server_error(self, error: Exception, source: Any) -> None:
        """Log what pygls could not handle; its own way is a message box for each."""
        log.error("%s: %s", getattr(source, "__name__", source), type(error).__name__)


def make_server(flags: Mapping[str, Any]) -> Server:
    """Return a server for one client. `flags` are settings from the command line."""
    server = Server(flags)
    server.feature(lsp.INITIALIZE)(_initialize)
    server.feature(lsp.INITIALIZED)(_initialized)
    server.feature(lsp.WORKSPACE_DID_CHANGE_CONFIGURATION)(_configuration_changed)
    server.feature(lsp.TEXT_DOCUMENT_DID_SAVE)(_saved)
    server.feature(lsp.NOTEBOOK_DOCUMENT_DID_SAVE)(_notebook_saved)
    for method, (feature, name, options) in _FEATURES.items():
        server.feature(method, options)(_handler(feature, name))
    for command, name in _COMMANDS.items():
        server.command(command)(_handler("commands", name))
    return server


_FEATURES: dict[str, tuple[str, str, Any]] = {
    lsp.TEXT_DOCUMENT_INLINE_COMPLETION: (
        "inline_completion",
        "inline_completion",
        lsp.InlineCompletionOptions(),
    ),
    lsp.TEXT_DOCUMENT_COMPLETION: ("completion", "completion", lsp.CompletionOptions(resolve_provider=True)),
    lsp.COMPLETION_ITEM_RESOLVE: ("completion", "resolve", None),
    lsp.TEXT_DOCUMENT_CODE_ACTION: (
        "code_action",
        "code_action",
        lsp.CodeActionOptions(code_action_kinds=[lsp.CodeActionKind.RefactorRewrite], resolve_provider=True),
    ),
    lsp.CODE_ACTION_RESOLVE: ("code_action", "resolve", None),
    lsp.TEXT_DOCUMENT_HOVER: ("hover", "hover", None),
    "textDocument/didShowCompletion": ("notifications", "shown", None),
    "textDocument/didPartiallyAcceptCompletion": ("notifications", "partially_accepted", None),
}
"""By method: the module in `features` and the function there. Modules are loaded at their first use: the first answer
need not wait for all that makes suggestions."""
_LIGHT = ("inline_completion", "completion", "notifications")
"""What may be imported on the event loop; these take their snapshot before they wait for the rest."""
_COMMANDS = {
    "nl2code.accept": "accept",
    "nl2code.reject": "reject",
    "nl2code.generate": "generate",
    "nl2code.alternatives": "alternatives",
    "nl2code.explainLast": "explain_last",
    "nl2code.status": "status",
}


def _handler(feature: str, name: str) -> Callable[..., Awaitable[Any]]:
    async def handler(ls: Server, *arguments: Any) -> Any:
        if feature not in _LIGHT:
            await ls.session.preload.ready()
        return await getattr(feature_module(feature), name)(ls, *arguments)

    return handler


async def _settle(ls: Server) -> None:
    """Do what can wait until the client has got its first answers."""
    await asyncio.sleep(_SETTLED_SECONDS)
    await ls.session.preload.ready()
    await ls.session.take_over()


def _initialize(ls: Server, params: lsp.InitializeParams) -> None:
    workspace.install(ls, ls.session)
    encoding = workspace.encoding_of(ls.workspace.position_encoding)
    folders = params.workspace_folders or ()
    project = folders[0].uri if folders else params.root_uri or params.root_path or ""
    ls.session.begin(read_client(params, encoding), project)
    ls.session.configure(_taste(params.initialization_options))
    if not ls.session.pops_up:
        # Not even announced: the popup of an editor with ghost text would take its keys.
        for method in (lsp.TEXT_DOCUMENT_COMPLETION, lsp.COMPLETION_ITEM_RESOLVE):
            del ls.protocol.fm.features[method]


def _initialized(ls: Server, _: lsp.InitializedParams) -> None:
    ls.session.tell_problems()
    ls.session.spawn(_settle(ls))
    if ls.session.client.watches_configuration:
        ls.session.spawn(_watch_configuration(ls))
    if ls.session.client.configuration:
        ls.session.spawn(_pull_configuration(ls))


def _configuration_changed(ls: Server, params: lsp.DidChangeConfigurationParams) -> None:
    if ls.session.client.configuration:
        ls.session.spawn(_pull_configuration(ls))
    elif params.settings is not None:
        ls.session.configure(_taste(params.settings))


def _saved(ls: Server, params: lsp.DidSaveTextDocumentParams) -> None:
    document = workspace.find(ls.workspace, params.text_document.uri)
    if document is not None:
        ls.session.saved(document.uri)


def _notebook_saved(ls: Server, params: lsp.DidSaveNotebookDocumentParams) -> None:
    notebook = ls.workspace.get_notebook_document(notebook_uri=params.notebook_document.uri)
    for cell in notebook.cells if notebook else ():
        if (document := workspace.find(ls.workspace, cell.document)) is not None:
            ls.session.saved(document.uri)


async def _watch_configuration(ls: Server) -> None:
    registration = lsp.Registration(
        id=str(uuid.uuid4()),
        method=lsp.WORKSPACE_DID_CHANGE_CONFIGURATION,
        register_options=lsp.DidChangeConfigurationRegistrationOptions(section=_SECTION),
    )
    params = lsp.RegistrationParams(registrations=[registration])
    with suppress(NoAnswer):
        await ls.ask(lsp.CLIENT_REGISTER_CAPABILITY, params, seconds=_CONFIGURATION_SECONDS)


async def _pull_configuration(ls: Server) -> None:
    params = lsp.ConfigurationParams(items=[lsp.ConfigurationItem(section=_SECTION)])
    try:
        sections = await ls.ask(lsp.WORKSPACE_CONFIGURATION, params, seconds=_CONFIGURATION_SECONDS)
    except NoAnswer as error:
        log.warning("%s", error)
        return
    if sections and sections[0] is not None:
        ls.session.configure(_taste(sections[0]))


def _taste(value: Any) -> dict[str, Any]:
    """Return the settings in what an editor sent: our section, or something that holds it."""
    value = _plain(value)
    section = _plain(value.get(_SECTION, value)) if isinstance(value, dict) else value
    if not isinstance(section, dict):
        if section is not None:
            log.warning("the editor's settings are no table of names and values; they are not used")
        return {}
    # Some editors send the sections of all their servers. None of our settings is a table.
    return {name: one for name, one in section.items() if not isinstance(_plain(one), dict)}


def _plain(value: Any) -> Any:
    """Return JSON data; pygls makes tuples with named fields of some objects."""
    return value._asdict() if hasattr(value, "_asdict") else value
