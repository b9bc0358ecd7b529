// The first run: find or install the server, fetch the model, try a first suggestion.

import * as fs from 'node:fs';
import * as path from 'node:path';
import * as vscode from 'vscode';
import { Failed, run } from './run';
import { findServer, isProgram, onPath, ownEnvironment, PROGRAM, scriptIn } from './server';
import { tell } from './status';

const PYTHON = process.platform === 'win32' ? 'python.exe' : 'python';
const PYTHONS = process.platform === 'win32' ? [PYTHON] : ['python3.13', 'python3.12', 'python3.11', 'python3'];
const IS_RECENT = 'import sys; sys.exit(sys.version_info < (3, 11))';
const EXAMPLE = '# write a function computing the gcd of two numbers, e.g. gcd(12, 18) == 6';

/** The part of the Python extension's API that is used here. */
interface PythonApi {
  readonly environments?: { readonly known: readonly { readonly path: string; readonly version?: { major?: number; minor?: number } }[] };
}

interface Choice extends vscode.QuickPickItem {
  readonly take: () => Promise<string | undefined>;
}

export class Setup {
  constructor(
    private readonly context: vscode.ExtensionContext,
    private readonly log: vscode.LogOutputChannel,
  ) {}

  /** Let the user pick where the server is, or is to be installed, and remember it in the user's settings. */
  async installServer(): Promise<void> {
    const found = findServer(this.context);
    const choices: Choice[] = [
      ...(found === undefined ? [] : [{ label: '$(check) The server that is here', description: found, take: async () => found }]),
      { label: '$(add) A new environment of its own', description: ownEnvironment(this.context), take: () => this.newEnvironment() },
      ...(await knownPythons()).map(({ label, python }) => ({ label, description: python, take: () => this.into(python) })),
      { label: '$(folder) A Python interpreter or nl2code-server elsewhere…', take: () => this.elsewhere() },
    ];
    const picked = await vscode.window.showQuickPick(choices, {
      title: 'Where should the nl2code server run?',
      placeHolder: 'It is a Python package (Python 3.11 or newer). What is missing is installed there by pip.',
    });
    await this.attempt('the server', async () => {
      const server = await picked?.take();
      if (server !== undefined) {
        await vscode.workspace.getConfiguration('nl2code').update('serverPath', server, vscode.ConfigurationTarget.Global);
        await vscode.commands.executeCommand('nl2code.restart');
      }
    });
  }

  /** Fetch the model that the settings name, once the user has seen how big it is. */
  async downloadModel(): Promise<void> {
    await this.attempt('the model', async () => {
      const cli = this.cli();
      const { settings } = JSON.parse(await run(cli, ['config', '--json'], this.log)) as { settings: { name: string; value: string }[] };
      const value = (name: string): string => settings.find((setting) => setting.name === name)?.value ?? '';
      if (value('endpoint') !== '') {
        tell(`the model is at ${value('endpoint')}; there is nothing to download`);
        return modelIsReady();
      }
      const model = JSON.parse(await run(cli, ['model', 'path', value('model'), '--json'], this.log)) as { id: string; present: boolean; bytes: number };
      const size = mebibytes(model.bytes);
      if (model.present) {
        tell(`${model.id} (${size}) is here already`);
        return modelIsReady();
      }
      const yes = `Download ${size}`;
      if ((await vscode.window.showInformationMessage(`nl2code needs the model ${model.id}, once: ${size}.`, yes)) === yes) {
        await this.pull(cli, model.id);
        modelIsReady();
        tell(`${model.id} is here`);
      }
    });
  }

  /** Open a new file with an instruction, and ask for its code. */
  async tryExample(): Promise<void> {
    const document = await vscode.workspace.openTextDocument({ language: 'python', content: EXAMPLE });
    const editor = await vscode.window.showTextDocument(document);
    const end = document.lineAt(0).range.end;
    editor.selection = new vscode.Selection(end, end);
    await vscode.commands.executeCommand('editor.action.inlineSuggest.trigger');
  }

  /** Open the one file of settings that only the user can change. */
  async openSettingsFile(): Promise<void> {
    await this.attempt('the settings file', async () => {
      const file = vscode.Uri.file((await run(this.cli(), ['config', 'path'], this.log)).trim());
      const uri = fs.existsSync(file.fsPath) ? file : file.with({ scheme: 'untitled' });
      await vscode.window.showTextDocument(uri);
    });
  }

  private cli(): string {
    const server = findServer(this.context);
    if (server === undefined) {
      throw new Failed('the server is not installed yet');
    }
    return path.join(path.dirname(server), path.basename(server).replace('-server', ''));
  }

  private async attempt(what: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.log.error(`${what}: ${reason}`);
      tell(`${what}: ${reason}`);
    }
  }

  private async newEnvironment(): Promise<string> {
    const environment = ownEnvironment(this.context);
    for (const python of PYTHONS.flatMap(onPath).filter(isProgram)) {
      if (await this.isRecent(python)) {
        await this.shown('nl2code: making an environment', (token) => run(python, ['-m', 'venv', environment], this.log, { token }));
        return this.into(scriptIn(environment, PYTHON));
      }
    }
    throw new Failed('no Python 3.11 or newer is on PATH');
  }

  /** Install the server that comes with this extension where an interpreter finds it. */
  private async into(python: string): Promise<string> {
    const server = path.join(path.dirname(python), PROGRAM);
    if (isProgram(server)) {
      return server;
    }
    if (!(await this.isRecent(python))) {
      throw new Failed(`${python} is older than Python 3.11, or no Python`);
    }
    const install = ['-m', 'pip', 'install', '--disable-pip-version-check', '--progress-bar', 'off', `${this.wheel()}[local]`];
    await this.shown('nl2code: installing the server', (token, report) => run(python, install, this.log, { token, onLine: report }));
    if (!isProgram(server)) {
      throw new Failed(`pip has put no ${PROGRAM} beside ${python}`);
    }
    return server;
  }

  private async elsewhere(): Promise<string | undefined> {
    const picked = await vscode.window.showOpenDialog({ title: 'A Python interpreter, or nl2code-server', openLabel: 'Use', canSelectMany: false });
    const file = picked?.[0]?.fsPath;
    if (file === undefined || path.basename(file) === PROGRAM) {
      return file;
    }
    return this.into(file);
  }

  private async isRecent(python: string): Promise<boolean> {
    return run(python, ['-c', IS_RECENT], this.log).then(
      () => true,
      () => false,
    );
  }

  private wheel(): string {
    const folder = this.context.asAbsolutePath('dist/server');
    const [wheel] = fs.existsSync(folder) ? fs.readdirSync(folder).filter((name) => name.endsWith('.whl')) : [];
    if (wheel === undefined) {
      throw new Failed('this build of the extension has no server in it; install nl2code yourself');
    }
    return path.join(folder, wheel);
  }

  private async pull(cli: string, model: string): Promise<void> {
    await this.shown(`nl2code: downloading ${model}`, (token, report) =>
      run(cli, ['model', 'pull', model, '--json'], this.log, {
        token,
        onLine: (line) => {
          const event = parsed(line);
          if (event['event'] === 'progress') {
            report(`${mebibytes(Number(event['done']))} of ${mebibytes(Number(event['total']))}`);
          } else if (event['event'] === 'error') {
            this.log.error(`${String(event['message'])} - ${String(event['fix'])}`);
          }
        },
      }),
    );
  }

  private async shown(title: string, work: (token: vscode.CancellationToken, report: (message: string) => void) => Promise<unknown>): Promise<void> {
    const options = { location: vscode.ProgressLocation.Notification, title, cancellable: true };
    await vscode.window.withProgress(options, (progress, token) => work(token, (message) => progress.report({ message: message.slice(0, 80) })));
  }
}

async function knownPythons(): Promise<{ label: string; python: string }[]> {
  const api = (await vscode.extensions.getExtension<PythonApi>('ms-python.python')?.activate()) as PythonApi | undefined;
  return (api?.environments?.known ?? []).map(({ path: python, version }) => ({
    label: `$(python) Python ${version?.major ?? '?'}.${version?.minor ?? '?'}`,
    python,
  }));
}

function modelIsReady(): void {
  void vscode.commands.executeCommand('setContext', 'nl2code.modelReady', true);
}

function mebibytes(bytes: number): string {
  return `${Math.round(bytes / (1 << 20))} MiB`;
}

function parsed(line: string): Record<string, unknown> {
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch {
    return {}; // libraries print there too
  }
}
