// Answers calls of the algebra, one JSON text a line: [[name, [argument, …]], …] in, and out
// [{"ok": result} or {"refused": [code, pointer]}, …]. The argument of this program is the folder of
// the compiled modules.

import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const folder = process.argv[2];
const modules = await Promise.all(
  ['index', 'delta', 'units'].map(name => import(pathToFileURL(`${folder}/${name}.js`)))
);
const [{ Refused }] = modules;
const functions = Object.assign({}, ...modules);

/** Nothing may write into an argument: then it throws. */
function frozen(value) {
  if (typeof value === 'object' && value !== null) {
    Object.values(value).forEach(frozen);
    Object.freeze(value);
  }
  return value;
}

function answer([name, argumentsOfIt]) {
  try {
    return { ok: functions[name](...frozen(argumentsOfIt)) ?? null };
  } catch (error) {
    if (error instanceof Refused) {
      return { refused: [error.code, error.pointer] };
    }
    return { error: String(error.stack) };
  }
}

for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  process.stdout.write(JSON.stringify(JSON.parse(line).map(answer)) + '\n');
}
