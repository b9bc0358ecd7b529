// What the server tells at length, the last decision and the status, as a rendered page beside the editor.

import * as vscode from 'vscode';

const SCHEME = 'nl2code';
/** Comes with the editor, and can be turned off. */
const RENDERER = 'vscode.markdown-language-features';
/** Milliseconds. */
const LATEST = 1_000;

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
    const known = vscode.workspace.textDocuments.find((one) => one.uri.toString() === uri.toString());
    if (known !== undefined && known.getText() !== markdown) {
      const arrived = change(known);
      this.changed.fire(uri);
      await arrived;
    }
    if (vscode.extensions.getExtension(RENDERER) === undefined) {
      await vscode.window.showTextDocument(uri, { preview: true, viewColumn: vscode.ViewColumn.Beside });
      return;
    }
    await vscode.commands.executeCommand('markdown.showLockedPreviewToSide', uri);
    // A page that is open already shows the text from before.
    await vscode.commands.executeCommand('markdown.preview.refresh');
  }
}

/** Wait for a document's next text, which comes by way of the window. */
async function change(document: vscode.TextDocument): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(done, LATEST);
    const listener = vscode.workspace.onDidChangeTextDocument((event) => event.document === document && done());
    function done(): void {
      clearTimeout(timer);
      listener.dispose();
      resolve();
    }
  });
}
