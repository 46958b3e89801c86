/** Texts: typing, surrogates, compositions, whole sources, files. */

import assert from 'node:assert/strict';
import test from 'node:test';

import { newCell, type TextDocument } from 'ot-jupyter-core';

import { type Lab, moment, notebookOf, open, settle, typeInto } from './world.js';

test('typing is an edit in code points', async () => {
  const [a, b] = (await open(notebookOf({ a: '😀 one' }))) as [Lab, Lab];
  a.type('a', 2, '😁!');
  b.type('a', 6, '.');
  await settle([a, b]);
  assert.equal(b.source('a'), '😀😁! one.');
  assert.deepEqual(a.server.entries[0]?.ops[0], {
    ...{ op: 'edit', path: '/cells/a/source', delta: [1, '😁!'] }
  });
});

test('half a pair becomes U+FFFD for all', async () => {
  const [a, b] = (await open(notebookOf({ a: 'x' }))) as [Lab, Lab];
  a.type('a', 1, '\ud83d');
  await settle([a, b]);
  assert.equal(b.source('a'), 'x\ufffd');
  a.type('a', 2, '😀');
  await settle([a, b]);
  a.type('a', 3, 'cut'); // in the midst of the pair: Yjs itself puts U+FFFD
  await settle([a, b]);
  a.notebook.insertCell(1, { id: 'b', cell_type: 'code', source: 'y\ude00' });
  await settle([a, b]);
  assert.equal(b.source('b'), 'y\ufffd');
});

test('a whole source that is set is a small edit', async () => {
  const [a, b] = (await open(notebookOf({ a: 'one two three' }))) as [Lab, Lab];
  a.cell('a').setSource('one 2 three');
  b.type('a', 13, '!');
  b.type('a', 0, '# ');
  await settle([a, b]);
  assert.equal(a.source('a'), '# one 2 three!');
});

test('sources of many cells are replaced in one transaction', async () => {
  const [a, b] = (await open(notebookOf({ a: 'x = 1', b: 'y = x' }))) as [Lab, Lab];
  a.notebook.transact(() => {
    a.cell('a').setSource('z = 1');
    a.cell('b').setSource('y = z');
  });
  await settle([a, b]);
  assert.equal(a.server.rev, 1);
  a.notebook.undo();
  await settle([a, b]);
  assert.equal(b.source('b'), 'y = x');
});

test('others’ changes wait while an input method composes', async () => {
  const [a, b] = (await open(notebookOf({ a: 'ab', b: 'x' }))) as [Lab, Lab];
  a.binding.hold();
  b.type('a', 0, '1');
  b.notebook.moveCell(0, 1);
  while ((await a.carry()) || (await b.carry()));
  assert.equal(a.source('a'), 'ab');
  a.type('a', 1, 'か');
  a.type('a', 1, '家', 1);
  assert.equal(a.source('a'), 'a家b');
  await moment();
  assert.equal(a.source('a'), 'a家b');
  a.binding.release();
  assert.equal(a.source('a'), '1a家b');
  assert.deepEqual(a.ids, ['b', 'a']);
  await settle([a, b]);
});

test('nothing is written into an open transaction', async () => {
  const [a] = (await open(notebookOf({ a: 'ab' }), 1)) as [Lab];
  a.notebook.transact(() => {
    a.session.edit([{ op: 'edit', path: '/cells/a/source', delta: [2, '!'] }]);
    assert.equal(a.source('a'), 'ab');
    a.cell('a').updateSource(0, 0, '> ');
  });
  await settle([a]);
  assert.equal(a.source('a'), '> ab!');
});

test('what others of this page do with the session is shown', async () => {
  const [a, b] = (await open(notebookOf({}))) as [Lab, Lab];
  const value = newCell();
  for (const lab of [a, b]) {
    lab.session.edit([{ op: 'add', path: '/cells/first', index: 0, value }], { scope: null });
  }
  await settle([a, b]);
  assert.deepEqual(a.ids, ['first']);
});

test('a file: typing, a whole text, undo', async () => {
  const [a, b] = (await open({ source: 'one\n' })) as [Lab, Lab];
  typeInto(a.file.ysource, 4, 'two 😀\n');
  typeInto(b.file.ysource, 0, '# ');
  await settle([a, b]);
  assert.equal(a.file.getSource(), '# one\ntwo 😀\n');
  b.file.setSource('# 1\ntwo 😀\n');
  typeInto(a.file.ysource, 13, 'end');
  await settle([a, b]);
  assert.equal(b.file.getSource(), '# 1\ntwo 😀\nend');
  assert.equal(a.file.undo(), true);
  await settle([a, b]);
  assert.equal(b.file.getSource(), '# 1\n');
  assert.equal((a.server.document as TextDocument).source, '# 1\n');
  a.file.redo();
  await settle([a, b]);
  assert.equal(b.file.getSource(), '# 1\ntwo 😀\nend');
});

test('a caret stays left of what others write there', async () => {
  const [a, b] = (await open(notebookOf({ a: 'ab' }))) as [Lab, Lab];
  const deltas: unknown[] = [];
  a.cell('a').ysource.observe(event => deltas.push(event.delta));
  b.type('a', 1, 'X', 1);
  await settle([a, b]);
  assert.deepEqual(deltas, [[{ retain: 1 }, { insert: 'X' }, { delete: 1 }]]);
});
