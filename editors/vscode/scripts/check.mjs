// What the compiler cannot see: no proposed API (a published extension may not use it, and test editors allow it all
// the same), the API of the oldest editor that is promised, and no message boxes for errors.

import { readdirSync, readFileSync } from 'node:fs';

const manifest = JSON.parse(readFileSync('package.json', 'utf8'));
const faults = [];

function demand(holds, fault) {
  if (!holds) faults.push(fault);
}

demand(!('enabledApiProposals' in manifest), 'package.json enables proposed API');
const oldest = manifest.engines.vscode.replace('^', '');
demand(manifest.devDependencies['@types/vscode'] === oldest, `@types/vscode is not that of the oldest editor, ${oldest}`);
const types = JSON.parse(readFileSync('tsconfig.json', 'utf8')).compilerOptions.types;
demand(types.join() === 'node,vscode', 'tsconfig.json adds types beside those of node and vscode');

for (const name of readdirSync('src', { recursive: true })) {
  demand(!name.includes('proposed'), `src/${name} declares proposed API`);
  demand(name.endsWith('.ts') && !name.endsWith('.d.ts'), `src/${name} is no source file`);
  readFileSync(`src/${name}`, 'utf8').split('\n').forEach((line, index) => {
    const at = `src/${name}:${index + 1}`;
    demand(!/show(Error|Warning)Message/.test(line), `${at} shows a message box`);
    demand(!/\bany\b.*[;,)=]|@ts-(ignore|nocheck|expect-error)/.test(line.replace(/\/\/(?! @ts).*/, '')), `${at} goes around the types`);
    demand(line.length <= 170, `${at} is too long`);
  });
}

const declared = new Set(manifest.contributes.commands.map(({ command }) => command));
const registered = readFileSync('src/extension.ts', 'utf8').matchAll(/^ {4}'(nl2code\.\w+)': /gm);
demand([...registered].map(([, name]) => name).sort().join() === [...declared].sort().join(), 'the commands of package.json are not those of extension.ts');

if (faults.length > 0) {
  console.error(faults.join('\n'));
  process.exit(1);
}
