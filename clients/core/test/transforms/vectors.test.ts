/**
 * The answers of the Python algebra, replayed: the table of `docs/algebra.md`, all that is refused,
 * and random cases. `vectors.jsonl` is written by `python -m tests.typescript.vectors`.
 */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';

import * as algebra from '../../src/index.js';
import { checkDelta } from '../../src/transforms/delta.js';

interface Vector {
  call: string;
  arguments: unknown[];
  ok?: unknown;
  /** Code and pointer. */
  refused?: [string, string];
}

const FILE = new URL('../../../test/transforms/vectors.jsonl', import.meta.url);
const FUNCTIONS = { ...algebra, checkDelta } as unknown as Record<
  string,
  (...all: unknown[]) => unknown
>;

/** Nothing may write into an argument: then it throws. */
function frozen<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    Object.values(value).forEach(frozen);
    Object.freeze(value);
  }
  return value;
}

function answer(vector: Vector): Pick<Vector, 'ok' | 'refused'> {
  const asked = FUNCTIONS[vector.call];
  assert.ok(asked, `there is no function ${vector.call}`);
  try {
    return { ok: asked(...frozen(vector.arguments)) ?? null };
  } catch (error) {
    if (error instanceof algebra.Refused) {
      return { refused: [error.code, error.pointer] };
    }
    throw error;
  }
}

const vectors = readFileSync(FILE, 'utf-8')
  .trimEnd()
  .split('\n')
  .map((line, index) => ({ line: index + 1, vector: JSON.parse(line) as Vector }));

for (const call of new Set(vectors.map(({ vector }) => vector.call))) {
  test(`${call} answers as in Python`, () => {
    for (const { line, vector } of vectors) {
      if (vector.call === call) {
        const { ok, refused } = vector;
        const expected = refused === undefined ? { ok } : { refused };
        const found = answer(vector);
        assert.ok(
          algebra.equal(found, expected),
          `line ${line}: ${JSON.stringify(found)}, not ${JSON.stringify(expected)}`
        );
      }
    }
  });
}
