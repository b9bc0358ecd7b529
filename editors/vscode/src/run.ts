// Programs run for the user: each output line is heard and logged, and a cancelled one is ended.

import { spawn } from 'node:child_process';
import * as os from 'node:os';
import { createInterface } from 'node:readline';
import type * as vscode from 'vscode';

export class Failed extends Error {}

export async function run(
  program: string,
  args: readonly string[],
  log: vscode.LogOutputChannel,
  { onLine, token }: { onLine?: (line: string) => void; token?: vscode.CancellationToken } = {},
): Promise<string> {
  log.info(`${program} ${args.join(' ')}`);
  const child = spawn(program, args, { cwd: os.homedir(), stdio: ['ignore', 'pipe', 'pipe'] });
  const cancelled = token?.onCancellationRequested(() => child.kill());
  const output: string[] = [];
  let complaint = '';
  createInterface(child.stdout).on('line', (line) => {
    output.push(line);
    onLine?.(line);
  });
  createInterface(child.stderr).on('line', (line) => {
    complaint = line.trim() || complaint;
    log.info(line);
  });
  try {
    const code = await new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve));
    if (token?.isCancellationRequested) {
      throw new Failed('cancelled');
    }
    if (code !== 0) {
      throw new Failed(complaint || `${program} ended with ${code}`);
    }
    return output.join('\n');
  } finally {
    cancelled?.dispose();
  }
}
