// What the server tells at length, the last decision and the status, as a rendered page beside the editor.

import * as vscode from 'vscode';

const SCHEME = 'nl2code';
/** Comes with the editor, and can be turned off. */
const RENDERER = 'vscode.markdown-language-features';

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

  async open(title: string, markdown: string): Promise<void> {
    const uri = vscode.Uri.from({ scheme: SCHEME, path: `${title}.md` });
    this.texts.set(uri.path, markdown);
    this.changed.fire(uri);
    // The keyboard stays with the code: grey text is gone once that has lost it.
    const where = { preview: true, preserveFocus: true, viewColumn: vscode.ViewColumn.Beside };
    if (vscode.extensions.getExtension(RENDERER) === undefined) {
      await vscode.window.showTextDocument(uri, where);
      return;
    }
    // Else it would take this text for the one that a page closed before has shown.
    await vscode.commands.executeCommand('markdown.preview.refresh');
    await vscode.commands.executeCommand('vscode.openWith', uri, 'vscode.markdown.preview.editor', where);
  }
}
