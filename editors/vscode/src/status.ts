// The status bar item: what the server is doing, why nothing comes, and the menu behind it.

import * as vscode from 'vscode';

export interface Report {
  readonly busy: boolean;
  readonly problem: boolean;
  readonly message: string;
}

const LONGEST = 48;
/** Milliseconds of work that are not worth telling: at each key there is a little. */
const BRIEFLY = 300;

export class Status implements vscode.Disposable {
  private readonly item = vscode.window.createStatusBarItem('nl2code.status', vscode.StatusBarAlignment.Right, 95);
  private report: Report = { busy: true, problem: false, message: 'starting' };

  private readonly waiting: (() => void)[] = [];
  private later: NodeJS.Timeout | undefined;

  constructor() {
    this.item.name = 'nl2code';
    this.item.command = 'nl2code.menu';
    this.show(this.report);
    this.item.show();
  }

  show(report: Report): void {
    this.report = report;
    clearTimeout(this.later);
    this.later = setTimeout(() => this.draw(report), report.busy ? BRIEFLY : 0);
    if (!report.busy) {
      this.waiting.splice(0).forEach((resolve) => resolve());
    }
  }

  /** No icon that turns: it would have the window painted anew all the time, while the user types. */
  private draw(report: Report): void {
    const icon = report.problem ? '$(warning)' : report.busy ? '$(ellipsis)' : '$(sparkle)';
    const text = `${icon} nl2code: ${shortened(report.message)}`;
    const tooltip = `nl2code: ${report.message}\nClick for what can be done.`;
    // What is set is sent to the window, be it the same as before; while a comment is typed that would be at each key.
    if (text === this.item.text && tooltip === this.item.tooltip) {
      return;
    }
    this.item.text = text;
    this.item.tooltip = tooltip;
    this.item.backgroundColor = report.problem ? new vscode.ThemeColor('statusBarItem.warningBackground') : undefined;
  }

  get busy(): boolean {
    return this.report.busy;
  }

  /** Wait until the server has done what it is at, or nobody wants that any more. */
  async idle(token: vscode.CancellationToken): Promise<void> {
    if (this.busy) {
      await new Promise<void>((resolve) => {
        this.waiting.push(resolve);
        token.onCancellationRequested(resolve);
      });
    }
  }

  problem(message: string): void {
    this.show({ busy: false, problem: true, message });
  }

  get message(): string {
    return this.report.message;
  }

  dispose(): void {
    clearTimeout(this.later);
    this.item.dispose();
  }
}

/** Tell the outcome of something that the user asked for: no toast, but not nothing either. */
export function tell(message: string): void {
  vscode.window.setStatusBarMessage(`$(info) nl2code: ${message}`, 10_000);
}

interface Choice extends vscode.QuickPickItem {
  readonly command?: string;
  readonly args?: readonly unknown[];
}

export async function menu(status: Status, runs: boolean): Promise<void> {
  const choices: Choice[] = runs
    ? [
        { label: '$(question) Explain the last suggestion', command: 'nl2code.explain', detail: 'What was found, asked, answered, checked and decided' },
        { label: '$(wand) Generate code for the comment at the cursor', command: 'nl2code.generateHere' },
        { label: '$(list-selection) Show alternatives', command: 'nl2code.showAlternatives' },
        { label: '$(pulse) Status', command: 'nl2code.showStatus' },
      ]
    : [];
  choices.push(
    { label: '', kind: vscode.QuickPickItemKind.Separator },
    { label: '$(settings-gear) Settings', command: 'workbench.action.openSettings', args: ['@ext:nl2code.nl2code'] },
    ...(runs ? [{ label: '$(file) Settings file', command: 'nl2code.openSettingsFile', detail: 'Endpoint, model, feedback: what no folder may set' }] : []),
    { label: '$(output) Log', command: 'nl2code.showLog' },
    { label: '$(debug-restart) Restart the server', command: 'nl2code.restart' },
    { label: '$(cloud-download) Find or install the server…', command: 'nl2code.installServer' },
  );
  const picked = await vscode.window.showQuickPick(choices, { title: 'nl2code', placeHolder: status.message, matchOnDetail: true });
  if (picked?.command !== undefined) {
    await vscode.commands.executeCommand(picked.command, ...(picked.args ?? []));
  }
}

function shortened(message: string): string {
  const line = message.replaceAll(/\s+/g, ' ');
  return line.length <= LONGEST ? line : `${line.slice(0, LONGEST - 1)}…`;
}
