/** Code points and UTF-16 units. */

import assert from 'node:assert/strict';
import test from 'node:test';

import {
  Walker,
  isWellFormed,
  pointLength,
  slicePoints,
  toPoints,
  toUnits
} from '../../src/transforms/units.js';

const HIGH = '\ud83d';
const LOW = '\ude00';
const TEXTS = [
  '',
  'abc',
  'a\nb',
  '😀',
  'a😀b',
  '😀😁',
  HIGH,
  LOW,
  `${LOW}${HIGH}`,
  `${HIGH}😀${LOW}`
];

/** Where each code point begins, told by the language itself. */
function starts(text: string): number[] {
  const found = [0];
  for (const point of text) {
    found.push((found.at(-1) as number) + point.length);
  }
  return found;
}

for (const text of TEXTS) {
  test(`code points of ${JSON.stringify(text)}`, () => {
    const points = [...text];
    assert.equal(pointLength(text), points.length);
    starts(text).forEach((unit, point) => {
      assert.equal(toUnits(text, point), unit);
      assert.equal(toPoints(text, unit), point);
      assert.equal(slicePoints(text, point), points.slice(point).join(''));
      assert.equal(slicePoints(text, 0, point), points.slice(0, point).join(''));
    });
  });
}

test('beyond the end there is as much as one says', () => {
  for (const text of ['abc', 'ab😀']) {
    assert.equal(toUnits(text, 3 + 4), text.length + 4);
    assert.equal(toPoints(text, text.length + 4), 3 + 4);
  }
});

test('in the midst of a pair is behind it', () => {
  assert.equal(toPoints('a😀b', 2), 2);
});

test('half of a pair is not well-formed, in whatever company', () => {
  for (const text of [HIGH, LOW, LOW + HIGH, `${HIGH}a`, `😀${LOW}`, `${HIGH}😀`]) {
    assert.equal(isWellFormed(text), false, JSON.stringify(text));
  }
  for (const text of ['', 'abc', '😀', 'a😀😁b', '\ue000\uffff']) {
    assert.equal(isWellFormed(text), true, JSON.stringify(text));
  }
});

test('a walk passes code points', () => {
  const walker = new Walker('a😀b😁c');
  assert.equal(walker.take(2), 'a😀');
  assert.equal(walker.take(0), '');
  assert.equal(walker.take(1), 'b');
  assert.equal(walker.rest(), '😁c');
  assert.equal(walker.beyond, false);
  walker.take(3);
  assert.equal(walker.beyond, true);
});
