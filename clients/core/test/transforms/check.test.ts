/** Values that no JSON text has: they come from programs in this very page. */

import assert from 'node:assert/strict';
import test from 'node:test';

import { checkChange, checkValue } from '../../src/index.js';

test('what is not JSON is no value', () => {
  const wrong: [unknown, string, string][] = [
    [NaN, 'bad_number', ''],
    [[1, Infinity], 'bad_number', '/1'],
    [{ a: -Infinity }, 'bad_number', '/a'],
    [undefined, 'wrong_type', ''],
    [{ a: undefined }, 'wrong_type', '/a'],
    [[1n], 'wrong_type', '/0'],
    [{ a: () => 1 }, 'wrong_type', '/a']
  ];
  for (const [value, code, pointer] of wrong) {
    assert.throws(() => checkValue(value), { name: 'Refused', code, pointer });
  }
});

test('an operation has its fields itself, not from a prototype', () => {
  const inherited: unknown = Object.create({ op: 'run', path: '/cells/a' });
  assert.throws(() => checkChange([inherited], { notebook: true, fromClient: true }), {
    code: 'unknown_operation'
  });
});
