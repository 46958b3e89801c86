/**
 * A page without a browser: the compiled core client in a process of its own, told what to do.
 *
 *     node program.mjs CLIENTS LIB
 *
 * CLIENTS is the folder of the workspaces (for `ws`, where node has no WebSocket), LIB that of the
 * compiled core. Each line of standard input is `{"id", "js"}`: the body of an async function with
 * `core`, `page`, `connect`, `until` and `type` in scope. Each line of standard output is
 * `{"id", "result"}` or `{"id", "error": {"code", "message"}}`.
 */

import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

import { fileStore } from './store.mjs';

const [clients, lib] = process.argv.slice(2);
const core = await import(pathToFileURL(`${lib}/index.js`).href);
const WebSocket =
  globalThis.WebSocket ?? createRequire(pathToFileURL(`${clients}/core/`).href)('ws');
for (const name of ['info', 'warn', 'error']) {
  console[name] = (...words) => process.stderr.write(words.map(String).join(' ') + '\n');
}

/** What is open, by name: whatever the lines put here. */
const page = {};

function connect(url, { store, ...options } = {}) {
  const webSocket = address => new WebSocket(address);
  const kept = store === undefined ? {} : { store: fileStore(store) };
  return new core.Connection({ url, webSocket, ...kept, ...options });
}

/** When the condition holds; it is looked at after everything that happens to the session. */
function until(session, condition) {
  return new Promise((resolve, reject) => {
    const look = () => {
      try {
        if (condition()) {
          end();
          resolve();
        }
      } catch (error) {
        end();
        reject(error);
      }
    };
    const end = session.subscribe(look);
    look();
  });
}

/** Type a text at the end of a cell, one code point after the other, as people do: not at once. */
async function type(session, cell, text) {
  const path = `/cells/${cell}/source`;
  for (const letter of text) {
    const length = core.pointLength(session.document.cells[cell].source);
    session.edit([{ op: 'edit', path, delta: length ? [length, letter] : [letter] }], {
      scope: cell
    });
    await new Promise(resolve => setTimeout(resolve, 1));
  }
}

const AsyncFunction = (async () => {}).constructor;

async function answer(id, js) {
  try {
    const body = new AsyncFunction('core', 'page', 'connect', 'until', 'type', js);
    return { id, result: (await body(core, page, connect, until, type)) ?? null };
  } catch (error) {
    return { id, error: { code: error.code ?? '', message: String(error.stack ?? error) } };
  }
}

createInterface({ input: process.stdin })
  .on('line', async line => {
    const { id, js } = JSON.parse(line);
    process.stdout.write(JSON.stringify(await answer(id, js)) + '\n');
  })
  .on('close', () => process.exit(0));
