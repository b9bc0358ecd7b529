#!/usr/bin/env bash
# Install what the tests in VS Code need: a workbench that runs headless (code-server), a driver for the browser, and
# the extension, built from this tree. Nothing is compiled; all comes from the npm registry, but for the browser.
set -euo pipefail
here=$(realpath "$(dirname "$0")")
place=${XDG_CACHE_HOME:-$HOME/.cache}/nl2code-test/vscode
versions="node@24.21.0 code-server@4.139.1 playwright-core@1.65.1"
export npm_config_audit=false npm_config_fund=false npm_config_update_notifier=false npm_config_loglevel=error

if ! command -v chromium >/dev/null && command -v apt-get >/dev/null; then
    apt-get update -q && apt-get install -y -q --no-install-recommends chromium
fi

if [ "$(cat "$place/versions" 2>/dev/null)" != "$versions" ]; then
    rm -rf "$place" && mkdir -p "$place/node24" "$place/cs"
    # The package that brings Node puts the program in place by an install script; the others need none of theirs.
    (cd "$place/node24" && npm init -y >/dev/null && npm install --ignore-scripts=false node@24.21.0)
    export PATH=$place/node24/node_modules/node/bin:$PATH
    (cd "$place/cs" && npm init -y >/dev/null && npm install --ignore-scripts code-server@4.139.1 playwright-core@1.65.1)
    (cd "$place/cs/node_modules/code-server/lib/vscode" && npm install --omit=dev --ignore-scripts)
    echo "$versions" >"$place/versions"
fi

# With the Python of the tests, which has what builds the server's wheel.
PYTHON=${PYTHON:-$here/../../../.venv/bin/python}
[ -x "$PYTHON" ] || PYTHON=$(command -v python3)
export PYTHON
cd "$here/../../../editors/vscode"
npm ci
npm run package
