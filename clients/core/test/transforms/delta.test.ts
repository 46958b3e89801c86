/** Edits of texts and of lists of outputs. */

import assert from 'node:assert/strict';
import test from 'node:test';

import {
  applyDelta,
  canonical,
  checkDelta,
  composeDelta,
  invertDelta,
  positionInDelta,
  transformDelta
} from '../../src/transforms/delta.js';
import { type Delta, type Json, type Part, Refused } from '../../src/index.js';
import { Chance } from '../client/random.js';

const LETTERS = ['a', 'b', '\n', 'é', '中', '😀', '😁', '👩‍👧'];

/** A text of some letters, of which many have two units. */
function randomText(chance: Chance, most: number): string {
  return Array.from({ length: chance.below(most + 1) }, () => chance.of(LETTERS)).join('');
}

/** Some edit of a text of so many code points. */
function randomDelta(chance: Chance, length: number): Delta {
  const delta: Delta = [];
  for (let left = length; left > 0;) {
    const step = 1 + chance.below(Math.min(4, left));
    delta.push(chance.of<Part>([randomText(chance, 3), step, -step]));
    left -= typeof delta.at(-1) === 'string' ? 0 : step;
  }
  return canonical([...delta, randomText(chance, 3)]);
}

test('elements of a text are code points', () => {
  assert.equal(applyDelta('😀a😁', [1, 'x', -1]), '😀x😁');
  assert.deepEqual(invertDelta('😀a😁', [1, 'x😀', -2]), [1, 'a😁', -2]);
  assert.deepEqual(transformDelta([2, 'x'], ['😀😀'], true), [4, 'x']);
  assert.deepEqual(composeDelta(['😀😁'], [1, 'x', -1]), ['😀x']);
  assert.equal(positionInDelta(1, ['😀']), 2);
});

test('where two insert at one place the later goes left', () => {
  assert.deepEqual(transformDelta(['x'], ['😀'], true), ['x']);
  assert.deepEqual(transformDelta(['x'], ['😀'], false), [1, 'x']);
});

test('an edit beyond the end is refused', () => {
  for (const [text, delta] of [
    ['😀', [1, -1]],
    ['ab', [-3]],
    ['', [1, 'x']]
  ] as [string, Delta][]) {
    assert.throws(() => applyDelta(text, delta), { code: 'out_of_range' });
  }
  assert.throws(() => applyDelta([{ text: 'a' }], [{ text: [-2] }]), {
    code: 'out_of_range',
    pointer: '/0/text'
  });
  assert.throws(() => applyDelta([], [{ text: ['a'] }]), { code: 'out_of_range' });
});

test('other forms of an edit are refused', () => {
  const wrong: [unknown, string, string][] = [
    ['a', 'wrong_type', ''],
    [[], 'no_effect', ''],
    [[0], 'not_canonical', '/0'],
    [[1.5], 'wrong_type', '/0'],
    [[true], 'wrong_type', '/0'],
    [[''], 'not_canonical', '/0'],
    [['a', 'b'], 'not_canonical', '/1'],
    [[-1, 'a'], 'not_canonical', '/1'],
    [['a', 1], 'not_canonical', '/1'],
    [[{ text: ['a'] }], 'wrong_type', '/0']
  ];
  for (const [delta, code, pointer] of wrong) {
    assert.throws(
      () => checkDelta(delta, 'text'),
      (error: unknown) =>
        error instanceof Refused && error.code === code && error.pointer === pointer,
      JSON.stringify(delta)
    );
  }
  checkDelta([1, '😀', -1], 'text');
  checkDelta([{ text: ['a'] }, { text: [-1] }], 'list');
});

test('a list may be as long as a program prints', () => {
  const list: Json[] = Array.from({ length: 300_000 }, (_, n) => ({ text: String(n) }));
  const last = list.length - 1;
  assert.equal(applyDelta([], [list]).length, list.length);
  assert.deepEqual(applyDelta(list, [last, -1]), list.slice(0, last));
  assert.equal(applyDelta(list, [{ text: ['x'] }])[last], list[last]);
});

test('random edits of texts with emoji', () => {
  for (let seed = 0; seed < 3000; seed += 1) {
    const chance = new Chance(seed);
    const text = randomText(chance, 8);
    const length = [...text].length;
    const [a, b] = [randomDelta(chance, length), randomDelta(chance, length)];
    const [afterA, afterB] = [applyDelta(text, a), applyDelta(text, b)];
    const then = randomDelta(chance, [...afterA].length);
    const why = `seed ${seed}`;
    for (const delta of [a, b, then].filter(one => one.length > 0)) {
      checkDelta(delta, 'text');
    }
    assert.equal(
      applyDelta(afterA, transformDelta(b, a, true)),
      applyDelta(afterB, transformDelta(a, b, false)),
      why
    );
    assert.equal(applyDelta(afterA, invertDelta(text, a)), text, why);
    assert.equal(applyDelta(text, composeDelta(a, then)), applyDelta(afterA, then), why);
  }
});
