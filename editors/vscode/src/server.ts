// Where the server's program is: the user's setting, the environment made by this extension, or PATH.

import * as fs from 'node:fs';
import * as path from 'node:path';
import * as vscode from 'vscode';

export const PROGRAM = process.platform === 'win32' ? 'nl2code-server.exe' : 'nl2code-server';
const SCRIPTS = process.platform === 'win32' ? 'Scripts' : 'bin';

/** Return the program's path, or undefined. Nothing that a workspace holds or sets is ever taken. */
export function findServer(context: vscode.ExtensionContext): string | undefined {
  const chosen = chosenPath();
  if (chosen !== undefined) {
    return isProgram(chosen) ? chosen : undefined;
  }
  return [scriptIn(ownEnvironment(context), PROGRAM), ...onPath(PROGRAM)].find(isProgram);
}

/** Return what the user has set. The setting is machine-scoped; reading the user's value alone makes sure of it. */
export function chosenPath(): string | undefined {
  const value = vscode.workspace.getConfiguration('nl2code').inspect<string>('serverPath')?.globalValue?.trim();
  return value === undefined || value === '' ? undefined : value;
}

/** Return the paths that a program may have on PATH, but for folders that are relative or in the workspace. */
export function onPath(program: string): string[] {
  const folders = (process.env['PATH'] ?? '').split(path.delimiter).filter((folder) => path.isAbsolute(folder));
  return folders.filter((folder) => !inWorkspace(folder)).map((folder) => path.join(folder, program));
}

export function ownEnvironment(context: vscode.ExtensionContext): string {
  return path.join(context.globalStorageUri.fsPath, 'server');
}

export function scriptIn(environment: string, program: string): string {
  return path.join(environment, SCRIPTS, program);
}

export function isProgram(file: string): boolean {
  try {
    fs.accessSync(file, fs.constants.X_OK);
    return path.isAbsolute(file) && fs.statSync(file).isFile();
  } catch {
    return false;
  }
}

function inWorkspace(folder: string): boolean {
  return (vscode.workspace.workspaceFolders ?? []).some(({ uri }) => {
    const between = path.relative(uri.fsPath, folder);
    return uri.scheme === 'file' && !between.startsWith('..') && !path.isAbsolute(between);
  });
}
