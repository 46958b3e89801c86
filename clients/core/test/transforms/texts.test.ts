/** What was changed between two texts. */

import assert from 'node:assert/strict';
import test from 'node:test';

import { applyDelta, diffText } from '../../src/index.js';
import { Chance } from '../client/random.js';

/** The same text with symbols of one unit, which stand alone as emoji do. */
const ONE_UNIT: Readonly<Record<string, string>> = { '😀': '一', '😁': '丁', '🚀': '丂' };

function inOneUnit(text: string): string {
  return Array.from(text, point => ONE_UNIT[point] ?? point).join('');
}

const WORDS = ['for', 'x', 'in', ' ', ' ', '    ', '\n', '\n', '(', '😀', '😁', '🚀', 'total'];

function randomText(chance: Chance, most: number): string {
  return Array.from({ length: chance.below(most + 1) }, () => chance.of(WORDS)).join('');
}

/** The text with some of it changed. */
function changed(chance: Chance, text: string): string {
  const points = [...text];
  const at = chance.below(points.length + 1);
  const gone = chance.below(2) === 0 ? 0 : chance.below(4);
  points.splice(at, gone, ...(chance.below(3) === 0 ? [] : [randomText(chance, 4)]));
  return points.join('');
}

test('what was typed is what is found', () => {
  assert.deepEqual(diffText('a😀b', 'a😀xb'), [2, 'x']);
  assert.deepEqual(diffText('😀', '😁😀'), ['😁']);
  assert.deepEqual(diffText('😀😀', '😀😀😀'), [2, '😀']);
  assert.deepEqual(diffText('😀\na\n', '😀\na\na\n'), [4, 'a\n']);
  assert.deepEqual(diffText('😀', '😁'), ['😁', -1]);
  assert.deepEqual(diffText('😀', '😀'), []);
});

test('a symbol of two units is as one of one unit', () => {
  for (let seed = 0; seed < 4000; seed += 1) {
    const chance = new Chance(seed);
    const old = randomText(chance, 30);
    let text = old;
    for (let edits = chance.below(4); edits >= 0; edits -= 1) {
      text = changed(chance, text);
    }
    const delta = diffText(old, text);
    const plain = diffText(inOneUnit(old), inOneUnit(text));
    const mapped = delta.map(part => (typeof part === 'string' ? inOneUnit(part) : part));
    assert.deepEqual(mapped, plain, `seed ${seed}`);
    assert.equal(applyDelta(old, delta), text, `seed ${seed}`);
  }
});

for (const [name, between] of [
  ['words', ' '],
  ['lines', '\n']
] as const) {
  test(`a text of very many ${name}`, () => {
    const middle = Array.from({ length: 150_000 }, (_, n) => `w${n % 977}`).join(between);
    const [old, text] = [`a${between}${middle}${between}b`, `x${between}${middle}${between}y`];
    const delta = diffText(old, text);
    assert.equal(applyDelta(old, delta), text);
    assert.deepEqual(delta, ['x', -1, middle.length + 2, 'y', -1]);
  });
}
