// What the server has offered as ghost text, and what the user did with it as far as the stable API lets us see.

import * as vscode from 'vscode';

export interface Offer {
  readonly id: string;
  readonly document: vscode.TextDocument;
  readonly item: vscode.InlineCompletionItem;
  readonly text: string;
  readonly start: vscode.Position;
  /** What stands before it on its line, which it is an answer to. */
  readonly lead: string;
}

/** Sends to the server; the language client does nothing else for this module. */
export interface Wire {
  execute(command: string, ...args: unknown[]): Promise<unknown>;
  notify(method: string, params: object): Promise<void>;
}

/** What the editor puts behind the cursor by itself. */
const CLOSING = /^[)\]}'"]*$/;

export class Offers {
  private standing: Offer | undefined;

  constructor(private readonly wire: Wire) {}

  /** Take note of an answer that reaches the editor. */
  answered(document: vscode.TextDocument, position: vscode.Position, items: readonly vscode.InlineCompletionItem[]): void {
    // With several items the stable API does not tell which one is seen: better no report than one about another.
    const [item] = items;
    const offer = items.length === 1 && item !== undefined ? offered(document, position, item) : undefined;
    // While a suggestion is typed along or taken word by word it stays, and counts from where it began.
    const same = items.length === 0 || offer?.id === this.standing?.id;
    if (!same || this.standing === undefined || !continues(this.standing, document, position)) {
      this.stand(offer);
    }
  }

  /** Return what is left of a suggestion that is typed along: there is code by then, where the server offers nothing. */
  rest(document: vscode.TextDocument, cursor: vscode.Position): vscode.InlineCompletionItem | undefined {
    const offer = this.standing;
    if (offer?.document !== document) {
      return undefined;
    }
    const text = unixLines(offer.text);
    const taken = takenOf(offer, document, cursor) ?? 0;
    if (taken === 0 || taken === text.length) {
      return undefined;
    }
    const line = document.lineAt(cursor);
    const end = CLOSING.test(line.text.slice(cursor.character)) ? line.range.end : cursor;
    // The editor shows items of one line and of what comes below it.
    const from = text.lastIndexOf('\n', taken - 1) + 1;
    const start = from === 0 ? offer.start : line.range.start;
    const item = new vscode.InlineCompletionItem(text.slice(from), new vscode.Range(start, end));
    return Object.assign(item, { command: offer.item.command });
  }

  accepted(id: unknown): void {
    if (this.standing?.id === id) {
      this.stand(undefined);
    }
  }

  /** Escape: say that the suggestion was seen and is not wanted, and hide it. */
  async dismiss(): Promise<void> {
    const offer = this.current();
    this.stand(undefined);
    await vscode.commands.executeCommand('editor.action.inlineSuggest.hide');
    if (offer !== undefined) {
      await this.shown(offer);
      await this.wire.execute('nl2code.reject', offer.id, 'escape');
    }
  }

  /** Take the next word, and say how much is taken by now. */
  async acceptNextWord(): Promise<void> {
    const offer = this.current();
    await vscode.commands.executeCommand('editor.action.inlineSuggest.acceptNextWord');
    const editor = vscode.window.activeTextEditor;
    if (offer === undefined || editor?.document !== offer.document) {
      return;
    }
    const taken = takenOf(offer, editor.document, editor.selection.active);
    if (taken !== undefined && taken > 0) {
      await this.shown(offer);
      await this.wire.notify('textDocument/didPartiallyAcceptCompletion', { item: wireItem(offer), acceptedLength: taken });
    }
  }

  private current(): Offer | undefined {
    const document = vscode.window.activeTextEditor?.document;
    return this.standing?.document === document ? this.standing : undefined;
  }

  /** The key that got here works only while ghost text is visible, which is evidence enough. */
  private shown(offer: Offer): Promise<void> {
    return this.wire.notify('textDocument/didShowCompletion', { item: wireItem(offer) });
  }

  private stand(offer: Offer | undefined): void {
    const changes = (offer === undefined) !== (this.standing === undefined);
    this.standing = offer;
    if (changes) {
      void vscode.commands.executeCommand('setContext', 'nl2code.offered', offer !== undefined);
    }
  }
}

function offered(document: vscode.TextDocument, position: vscode.Position, item: vscode.InlineCompletionItem): Offer | undefined {
  const id: unknown = item.command?.arguments?.[0];
  if (typeof id !== 'string') {
    return undefined;
  }
  const text = typeof item.insertText === 'string' ? item.insertText : item.insertText.value;
  const start = item.range?.start ?? position;
  return { id, document, item, text, start, lead: leadOf(document, start) };
}

function continues(offer: Offer, document: vscode.TextDocument, position: vscode.Position): boolean {
  return offer.document === document && takenOf(offer, document, position) !== undefined;
}

/** Return how many UTF-16 units of the suggestion stand before the cursor; undefined if something else does. */
function takenOf(offer: Offer, document: vscode.TextDocument, cursor: vscode.Position): number | undefined {
  if (cursor.isBefore(offer.start) || leadOf(document, offer.start) !== offer.lead) {
    return undefined;
  }
  const before = unixLines(document.getText(new vscode.Range(offer.start, cursor)));
  return unixLines(offer.text).startsWith(before) ? before.length : undefined;
}

function leadOf(document: vscode.TextDocument, position: vscode.Position): string {
  return document.lineAt(position).text.slice(0, position.character);
}

function unixLines(text: string): string {
  return text.replaceAll('\r\n', '\n');
}

function wireItem(offer: Offer): object {
  const { title, command, arguments: args } = offer.item.command!;
  return { insertText: offer.text, command: { title, command, arguments: args } };
}
