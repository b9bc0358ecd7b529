// Read-only documents with what the server tells: the last decision, the status.

import * as vscode from 'vscode';

const SCHEME = 'nl2code';
const PREVIEW = 'markdown.showPreviewToSide';

export class Documents implements vscode.TextDocumentContentProvider {
  private readonly changed = new vscode.EventEmitter<vscode.Uri>();
  private readonly texts = new Map<string, string>();
  readonly onDidChange = this.changed.event;

  register(): vscode.Disposable {
    return vscode.Disposable.from(this.changed, vscode.workspace.registerTextDocumentContentProvider(SCHEME, this));
  }

  provideTextDocumentContent(uri: vscode.Uri): string {
    return this.texts.get(uri.path) ?? '';
  }

  /** Show Markdown, as a preview where there is one. */
  async open(title: string, text: string): Promise<void> {
    const uri = vscode.Uri.from({ scheme: SCHEME, path: `${title}.md` });
    this.texts.set(uri.path, text);
    this.changed.fire(uri);
    const previews = (await vscode.commands.getCommands()).includes(PREVIEW);
    await (previews
      ? vscode.commands.executeCommand(PREVIEW, uri)
      : vscode.window.showTextDocument(uri, { preview: true, viewColumn: vscode.ViewColumn.Beside }));
  }
}
