"""What a client can do, read once from its `initialize` request: data that the features choose by."""

from __future__ import annotations

from dataclasses import dataclass

from lsprotocol import types as lsp

from ..lang.document import Encoding


@dataclass(frozen=True, slots=True)
class Client:
    """An editor, as it introduced itself. Whatever it did not claim, it cannot do."""

    name: str = ""
    version: str = ""
    encoding: Encoding = "utf-16"
    inline_completion: bool = False
    snippets: bool = False
    """Expands snippets in popup completion."""
    keeps_indent: bool = False
    """Puts popup text in as it is if asked to; else it may indent its lines like the one at the cursor."""
    resolves_preview: bool = False
    """Asks for an item's documentation when the user comes to it."""
    popup_markdown: bool = False
    asks: bool = False
    """Shows a question with buttons and sends the answer back."""
    progress: bool = False
    apply_edit: bool = False
    document_changes: bool = False
    """Takes edits bound to a document version."""
    configuration: bool = False
    """Answers `workspace/configuration`."""
    watches_configuration: bool = False
    """Wants to be asked before it sends changed settings."""
    action_literals: bool = False
    """Takes code actions; else only commands."""
    action_edits: bool = False
    """Asks for an action's edit when the user picks it."""
    markdown: bool = False

    @property
    def label(self) -> str:
        """Name and version, for the feedback log."""
        return f"{self.name} {self.version}".strip() or "unknown"


def read_client(params: lsp.InitializeParams, encoding: Encoding) -> Client:
    """Read a client's name and capabilities. Every part of them may be missing."""
    capabilities = params.capabilities
    document = capabilities.text_document or lsp.TextDocumentClientCapabilities()
    workspace = capabilities.workspace or lsp.WorkspaceClientCapabilities()
    window = capabilities.window or lsp.WindowClientCapabilities()
    action = document.code_action or lsp.CodeActionClientCapabilities()
    completion = document.completion or lsp.CompletionClientCapabilities()
    item = completion.completion_item or lsp.ClientCompletionItemOptions()
    modes = item.insert_text_mode_support.value_set if item.insert_text_mode_support else ()
    lazy = item.resolve_support.properties if item.resolve_support else ()
    hover = document.hover or lsp.HoverClientCapabilities()
    resolved = action.resolve_support.properties if action.resolve_support else ()
    return Client(
        name=params.client_info.name if params.client_info else "",
        version=(params.client_info.version or "") if params.client_info else "",
        encoding=encoding,
        inline_completion=document.inline_completion is not None,
        snippets=bool(item.snippet_support),
        keeps_indent=lsp.InsertTextMode.AsIs in modes,
        resolves_preview="documentation" in lazy,
        popup_markdown=lsp.MarkupKind.Markdown in (item.documentation_format or ()),
        # There is no capability for the bare request. The one for its buttons tells apart the editors that
        # show them from those that never reply.
        asks=bool(window.show_message),
        progress=bool(window.work_done_progress),
        apply_edit=bool(workspace.apply_edit),
        document_changes=bool(workspace.workspace_edit and workspace.workspace_edit.document_changes),
        configuration=bool(workspace.configuration),
        watches_configuration=bool(
            workspace.did_change_configuration and workspace.did_change_configuration.dynamic_registration
        ),
        action_literals=action.code_action_literal_support is not None,
        action_edits="edit" in resolved,
        markdown=lsp.MarkupKind.Markdown in (hover.content_format or ()),
    )
