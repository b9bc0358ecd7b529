// The language client: quiet (no toasts), and with what the standard client does not report.

import * as os from 'node:os';
import * as vscode from 'vscode';
import { LanguageClient, type LanguageClientOptions, RevealOutputChannelOn, State, TransportKind } from 'vscode-languageclient/node';
import { Offers } from './offers';
import { type Report, type Status, tell } from './status';

const DOCUMENTS = ['file', 'untitled', 'vscode-notebook-cell'].map((scheme) => ({ scheme, language: 'python' }));

const ASK_AGAIN = 2;
/** Characters. */
const LONGEST_BUTTON = 24;
const GONE: Report = { busy: false, problem: true, message: 'the server has stopped; its log tells why' };
const LIFE: Record<State, Report> = {
  [State.Starting]: { busy: true, problem: false, message: 'starting' },
  [State.Running]: { busy: false, problem: false, message: 'ready' },
  [State.Stopped]: GONE,
  [State.StartFailed]: GONE,
};

interface ServerStatus {
  busy: boolean;
  kind: string;
  message: string;
}

interface Question {
  message: string;
  actions?: { title: string }[];
}

/** A client whose errors go to the log, never into a message box. */
class QuietClient extends LanguageClient {
  override error(message: string, data?: unknown): void {
    super.error(message, data, false);
  }

  override warn(message: string, data?: unknown): void {
    super.warn(message, data, false);
  }
}

export class Connection {
  readonly offers: Offers;
  private readonly client: QuietClient;

  constructor(
    server: string,
    log: vscode.LogOutputChannel,
    private readonly status: Status,
  ) {
    // The working folder is the user's own: programs are looked up there on some systems, and a workspace is anybody's.
    const run = { command: server, transport: TransportKind.stdio, options: { cwd: os.homedir() } };
    this.client = new QuietClient('nl2code', 'nl2code', run, this.options(log));
    this.offers = new Offers({
      execute: (command, ...args) => Promise.resolve(vscode.commands.executeCommand(command, ...args)),
      notify: (method, params) => this.client.sendNotification(method, params),
    });
    this.client.onNotification('didChangeStatus', (told: ServerStatus) => {
      status.show({ busy: told.busy, problem: told.kind !== 'Normal', message: told.message.replace(/^nl2code: /, '') });
    });
    this.client.onNotification('window/showMessage', ({ message }: { message: string }) => {
      log.warn(message);
      tell(message.replace(/^nl2code: /, ''));
    });
    this.client.onRequest('window/showMessageRequest', ask);
    this.client.onDidChangeState(({ newState }) => status.show(LIFE[newState]));
  }

  get runs(): boolean {
    return this.client.isRunning();
  }

  async start(): Promise<void> {
    await this.client.start();
  }

  async stop(): Promise<void> {
    await this.client.dispose();
  }

  uriOf(document: vscode.TextDocument): string {
    return this.client.code2ProtocolConverter.asUri(document.uri);
  }

  private options(log: vscode.LogOutputChannel): LanguageClientOptions {
    return {
      documentSelector: DOCUMENTS,
      outputChannel: log,
      revealOutputChannelOn: RevealOutputChannelOn.Never,
      initializationFailedHandler: () => false,
      connectionOptions: { maxRestartCount: 3 },
      middleware: {
        provideInlineCompletionItems: async (document, position, context, token, next) => {
          const rest = this.offers.rest(document, position);
          if (rest !== undefined) {
            return [rest];
          }
          let answer = await next(document, position, context, token);
          // On a slow machine the server's patience ends before its work does, and the editor does not ask twice.
          for (let again = 0; again < ASK_AGAIN && itemsOf(answer).length === 0 && this.status.busy; again++) {
            await this.status.idle(token);
            if (token.isCancellationRequested) {
              return null;
            }
            answer = await next(document, position, context, token);
          }
          if (!token.isCancellationRequested) {
            this.offers.answered(document, position, itemsOf(answer));
          }
          return answer;
        },
        executeCommand: async (command, args, next) => {
          if (command === 'nl2code.accept') {
            this.offers.accepted(args[0]);
            void vscode.commands.executeCommand('setContext', 'nl2code.accepted', true);
          }
          try {
            return await next(command, args);
          } catch {
            return undefined; // The client has logged it; thrown on, it would become a message box.
          }
        },
        resolveCodeAction: async (action, token, next) => {
          try {
            return await next(action, token);
          } catch (error) {
            tell(error instanceof Error ? error.message : String(error));
            return action;
          }
        },
        workspace: {
          configuration: ({ items }) => items.map(({ section }) => (section === 'nl2code' ? chosenSettings() : null)),
        },
      },
    };
  }
}

type Answer = vscode.InlineCompletionItem[] | vscode.InlineCompletionList | null | undefined;

function itemsOf(answer: Answer): readonly vscode.InlineCompletionItem[] {
  return Array.isArray(answer) ? answer : (answer?.items ?? []);
}

/**
 * Return the settings that somebody has chosen: a default sent along would hide what stands in the user's settings file.
 * Names that the server refuses are sent on, so that it can say why; but none from a folder that is not trusted, which
 * the editor leaves out for the names of the manifest alone.
 */
function chosenSettings(): Record<string, unknown> {
  const settings = vscode.workspace.getConfiguration('nl2code');
  const names = Object.keys(settings).filter((name) => settings.has(name) && typeof settings[name] !== 'function' && name !== 'serverPath');
  const chosen = names.map((name) => {
    const { globalValue, defaultValue } = settings.inspect(name) ?? {};
    const value = vscode.workspace.isTrusted ? settings.get(name) : globalValue;
    return [name, globalValue !== undefined || value !== defaultValue ? value : undefined];
  });
  return Object.fromEntries(chosen.filter(([, value]) => value !== undefined));
}

/** Put the server's question: as a message with buttons, or as a list if its answers are too long for those. */
async function ask({ message, actions = [] }: Question): Promise<{ title: string } | null> {
  const titles = actions.map(({ title }) => title);
  const title =
    titles.some(({ length }) => length > LONGEST_BUTTON)
      ? await vscode.window.showQuickPick(titles, { title: message })
      : await vscode.window.showInformationMessage(message, ...titles);
  return title === undefined ? null : { title };
}
