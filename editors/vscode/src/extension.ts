// The extension's life: one server while Python files are open, and the commands around it.

import * as vscode from 'vscode';
import { Connection } from './client';
import { Documents } from './documents';
import { chosenPath, findServer } from './server';
import { Setup } from './setup';
import { menu, Status, tell } from './status';

let connection: Connection | undefined;

export async function activate(context: vscode.ExtensionContext): Promise<void> {
  const log = vscode.window.createOutputChannel('nl2code', { log: true });
  const status = new Status();
  const documents = new Documents();
  const setup = new Setup(context, log);

  const restart = serially(async () => {
    await stop(log);
    const server = findServer(context);
    void vscode.commands.executeCommand('setContext', 'nl2code.serverFound', server !== undefined);
    if (server === undefined) {
      const chosen = chosenPath();
      status.problem(chosen === undefined ? 'no server yet - click to install it' : `${chosen} is no program`);
      return;
    }
    log.info(`server: ${server}`);
    connection = new Connection(server, log, status);
    try {
      await connection.start();
    } catch (error) {
      log.error(`the server did not start: ${String(error)}`);
      status.problem('the server did not start; its log tells why');
    }
  });

  const commands: Record<string, () => unknown> = {
    'nl2code.menu': () => menu(status, connection?.runs === true),
    'nl2code.showLog': () => log.show(),
    'nl2code.restart': restart,
    'nl2code.installServer': () => setup.installServer(),
    'nl2code.downloadModel': () => setup.downloadModel(),
    'nl2code.tryExample': () => setup.tryExample(),
    'nl2code.openSettingsFile': () => setup.openSettingsFile(),
    'nl2code.dismiss': () => connection?.offers.dismiss(),
    'nl2code.acceptNextWord': () => connection?.offers.acceptNextWord(),
    'nl2code.generateHere': () => atCursor('nl2code.generate'),
    'nl2code.showAlternatives': () => atCursor('nl2code.alternatives'),
    'nl2code.explain': async () => {
      const told = await ask<{ text: string }>('nl2code.explainLast');
      await documents.open('The last suggestion', told?.text ?? notRunning(status));
    },
    'nl2code.showStatus': async () => {
      const told = await ask<object>('nl2code.status');
      await documents.open('nl2code status', listed(told ?? { state: notRunning(status) }));
    },
  };
  context.subscriptions.push(
    log,
    status,
    documents.register(),
    ...Object.entries(commands).map(([name, work]) => vscode.commands.registerCommand(name, work)),
    vscode.workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration('nl2code.serverPath')) {
        void restart();
      }
    }),
  );
  await restart();
}

export async function deactivate(): Promise<void> {
  await connection?.stop();
}

async function stop(log: vscode.LogOutputChannel): Promise<void> {
  const ending = connection;
  connection = undefined;
  try {
    await ending?.stop();
  } catch (error) {
    log.warn(`the server did not end in good order: ${String(error)}`);
  }
}

async function ask<Answer>(command: string, ...args: unknown[]): Promise<Answer | undefined> {
  return connection?.runs ? vscode.commands.executeCommand<Answer>(command, ...args) : undefined;
}

async function atCursor(command: string): Promise<void> {
  const editor = vscode.window.activeTextEditor;
  if (editor?.document.languageId !== 'python' || !connection?.runs) {
    tell(connection?.runs ? 'this is no Python file' : 'the server does not run');
    return;
  }
  await ask(command, connection.uriOf(editor.document), editor.selection.active.line);
}

function notRunning(status: Status): string {
  return `The server does not run: ${status.message}.`;
}

/** Return a Markdown list of what is known, each value as code: it may be anybody's text. */
function listed(told: object): string {
  const known = Object.entries(told).filter(([, value]) => value !== null && value !== '');
  return known.map(([name, value]) => `- **${name}**: \`${typeof value === 'string' ? value : JSON.stringify(value)}\``).join('\n');
}

/** Run one at a time: a call while one is at work waits for it, and then runs for all that have come meanwhile. */
function serially(work: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | undefined;
  let next: Promise<void> | undefined;
  const begin = (): Promise<void> => {
    next = undefined;
    running = work().finally(() => (running = undefined));
    return running;
  };
  return () => (running === undefined ? begin() : (next ??= running.then(begin)));
}
