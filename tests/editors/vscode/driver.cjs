// Drives headless Chromium for the tests: one JSON request a line in, one JSON answer a line out.
//   {"id": 1, "page": "a", "call": "keyboard.press", "args": ["Tab"]}

const { createInterface } = require('node:readline');
const [, , playwright, browser, folder, scale] = process.argv;
const { chromium } = require(playwright);

// Without these the browser looks for hosts of its maker's, which a closed network refuses, many at a time.
const quiet = ['--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

async function main() {
  const context = await chromium.launchPersistentContext(folder, {
    executablePath: browser,
    headless: true,
    viewport: { width: 1280, height: 800 },
    deviceScaleFactor: Number(scale),
    args: ['--no-sandbox', '--disable-gpu', ...quiet],
  });
  const pages = new Map();
  const calls = {
    open: async (name) => {
      const page = await context.newPage();
      // The editor asks before it is left; the answer is yes.
      page.on('dialog', (dialog) => dialog.accept().catch(() => {}));
      pages.set(name, page);
    },
    // A webview is a frame in a frame; the newest is the last.
    rendered: (name) => pages.get(name).frameLocator('iframe.webview').last().frameLocator('#active-frame').locator('body').innerHTML(),
    end: () => context.close(),
  };
  const answer = (id, reply) => process.stdout.write(`${JSON.stringify({ id, ...reply })}\n`);
  createInterface(process.stdin).on('line', async (line) => {
    const { id, page, call, args = [] } = JSON.parse(line);
    try {
      const path = call.split('.');
      const target = path.slice(0, -1).reduce((object, name) => object[name], pages.get(page));
      const value = page === undefined ? await calls[call](...args) : await target[path.at(-1)](...args);
      answer(id, { value: plain(value) });
    } catch (error) {
      answer(id, { error: String(error.message ?? error) });
    }
    if (call === 'end') process.exit(0);
  }).on('close', () => context.close().finally(() => process.exit(0)));
  answer(0, { value: 'ready' });
}

/** Handles and buffers stay here. */
function plain(value) {
  return value === undefined || (typeof value === 'object' && value?.constructor !== Object && !Array.isArray(value)) ? null : value;
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
