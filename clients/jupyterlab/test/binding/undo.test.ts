/** Undo and redo: one's own, in the cell that was typed in, or of the cells. */

import assert from 'node:assert/strict';
import test from 'node:test';

import { type Lab, notebookOf, open, settle } from './world.js';

test('typing is undone with its cell, and what others typed stays', async () => {
  const [a, b] = (await open(notebookOf({ a: 'x', b: 'y' }))) as [Lab, Lab];
  a.type('a', 1, '1');
  a.time += 100;
  a.type('a', 2, '2');
  a.time += 600;
  a.type('a', 3, '3');
  a.type('b', 1, '!');
  b.type('a', 0, 'theirs ');
  await settle([a, b]);
  assert.equal(a.notebook.canUndo(), false);
  assert.equal(a.cell('a').undo(), true);
  assert.equal(a.source('a'), 'theirs x12');
  assert.equal(a.cell('a').undo(), true);
  assert.equal(a.cell('a').undo(), false);
  await settle([a, b]);
  assert.equal(b.source('a'), 'theirs x');
  assert.equal(b.source('b'), 'y!');
  a.cell('a').redo();
  a.cell('a').redo();
  await settle([a, b]);
  assert.equal(b.source('a'), 'theirs x123');
});

test('cells come back with what others typed meanwhile', async () => {
  const [a, b] = (await open(notebookOf({ a: 'x', b: 'y' }))) as [Lab, Lab];
  a.notebook.deleteCell(0);
  b.type('a', 1, '!');
  await settle([a, b]);
  a.notebook.undo();
  await settle([a, b]);
  assert.deepEqual(b.ids, ['a', 'b']);
  assert.equal(b.notebook.canUndo(), false);
});

test('a move that is undone takes no text away', async () => {
  const [a, b] = (await open(notebookOf({ a: 'x', b: 'y', c: 'z' }))) as [Lab, Lab];
  a.notebook.moveCell(0, 2);
  await settle([a, b]);
  b.type('a', 1, ' theirs');
  a.type('a', 0, 'mine ');
  await settle([a, b]);
  assert.equal(a.notebook.undo(), true);
  await settle([a, b]);
  assert.deepEqual(b.ids, ['a', 'b', 'c']);
  assert.equal(b.source('a'), 'mine x theirs');
  a.notebook.redo();
  await settle([a, b]);
  assert.deepEqual(b.ids, ['b', 'c', 'a']);
});

test('two undos of removals give no cell twice', async () => {
  const [a, b] = (await open(notebookOf({ a: 'x', b: 'y' }))) as [Lab, Lab];
  a.notebook.deleteCell(0);
  b.notebook.deleteCell(0);
  await settle([a, b]);
  a.notebook.undo();
  b.notebook.undo();
  await settle([a, b]);
  assert.deepEqual(a.ids, ['a', 'b']);
});

test('Yjs keeps nothing for an undo of its own', async () => {
  const [a] = (await open(notebookOf({ a: 'x' }), 1)) as [Lab];
  a.notebook.insertCell(1, { id: 'b', cell_type: 'code', source: '' });
  a.cell('b').undoManager?.addTrackedOrigin({});
  a.cell('b').setSource('typed');
  a.notebook.deleteCell(0);
  const managers = [a.notebook.undoManager, a.cell('b').undoManager];
  assert.deepEqual(
    managers.map(one => one?.undoStack.length),
    [0, 0]
  );
  assert.equal(a.cell('b').canUndo(), true);
  a.notebook.clearUndoHistory();
  assert.equal(a.cell('b').canUndo(), false);
});

test('editors are shown where something was undone', async () => {
  const [a] = (await open(notebookOf({ a: '😀 one' }), 1)) as [Lab];
  a.type('a', 2, 'typed');
  const places: unknown[] = [];
  a.cell('a').undoManager?.on('stack-item-popped', (event: unknown) => {
    const { meta } = (event as { stackItem: { meta: Map<unknown, { yhead: unknown }> } }).stackItem;
    places.push(meta.get('a plugin')?.yhead);
  });
  a.cell('a').undo();
  a.cell('a').redo();
  const { createAbsolutePositionFromRelativePosition: absolute } = await import('yjs');
  const index = absolute(places[1] as never, a.notebook.ydoc)?.index;
  assert.deepEqual([places.length, index], [2, 7]);
});

test('what was done offline is undone offline', async () => {
  const [a, b] = (await open(notebookOf({ a: 'x' }))) as [Lab, Lab];
  a.cut();
  a.type('a', 1, ' mine');
  b.type('a', 0, 'theirs ');
  a.cell('a').undo();
  a.cell('a').redo();
  assert.equal(a.notebook.dirty, true);
  await settle([a, b]);
  assert.equal(b.source('a'), 'theirs x mine');
});
