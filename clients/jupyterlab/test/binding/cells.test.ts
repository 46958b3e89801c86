/** Cells that JupyterLab inserts, moves, splits, merges, and what others see of it. */

import assert from 'node:assert/strict';
import test from 'node:test';

import { newCell, type NotebookDocument } from 'ot-jupyter-core';

import { display, type Lab, moment, notebookOf, open, settle, stream } from './world.js';

function lastOps(lab: Lab): unknown {
  return lab.server.entries.at(-1)?.ops;
}

test('a document is shown, and is neither dirty nor undoable', async () => {
  const document = notebookOf({ a: 'x', b: { cell_type: 'markdown', attachments: { p: {} } } });
  const [lab] = (await open({ ...document, metadata: { kernelspec: { name: 'p' } } }, 1)) as [Lab];
  assert.deepEqual(lab.ids, ['a', 'b']);
  assert.equal(lab.notebook.canUndo(), false);
  assert.equal(lab.server.rev, 0);
});

test('a move is one operation, and keeps what others type meanwhile', async () => {
  const [a, b] = (await open(notebookOf({ a: 'x', b: 'y', c: 'z' }))) as [Lab, Lab];
  a.notebook.moveCells(0, 2, 1);
  b.type('a', 1, '!');
  await settle([a, b]);
  assert.deepEqual(a.ids, ['b', 'c', 'a']);
  assert.equal(a.source('a'), 'x!');
  assert.deepEqual(a.server.entries[0]?.ops, [{ op: 'move', path: '/cells/a', index: 0, to: 2 }]);
});

test('a cell that is deleted and inserted is moved; its source is edited', async () => {
  const [a, b] = (await open(notebookOf({ a: 'one two', b: 'y' }))) as [Lab, Lab];
  a.notebook.transact(() => {
    a.notebook.deleteCell(0);
    a.notebook.insertCell(1, {
      id: 'a',
      cell_type: 'code',
      source: 'one 2 two',
      metadata: { k: 1 }
    });
  });
  b.type('a', 0, '# ');
  await settle([a, b]);
  assert.deepEqual(b.ids, ['b', 'a']);
  assert.equal(b.source('a'), '# one 2 two');
});

test('a block of cells is moved', async () => {
  const [a, b] = (await open(notebookOf({ a: '', b: '', c: '', d: '', e: '' }))) as [Lab, Lab];
  a.notebook.moveCells(1, 4, 2);
  await settle([a, b]);
  assert.deepEqual(b.ids, ['a', 'd', 'e', 'b', 'c']);
  b.notebook.moveCells(3, 0, 2);
  await settle([a, b]);
  assert.deepEqual(a.ids, ['b', 'c', 'a', 'd', 'e']);
});

test('several inserts and deletes of one event are told step by step', async () => {
  const [a, b] = (await open(notebookOf({ a: 'a', b: 'b', c: 'c', d: 'd' }))) as [Lab, Lab];
  a.notebook.transact(() => {
    a.notebook.deleteCell(3);
    a.notebook.insertCell(3, { id: 'x', cell_type: 'raw', source: 'x' });
    a.notebook.deleteCell(1);
    a.notebook.insertCell(0, { id: 'y', cell_type: 'markdown', source: 'y' });
    a.notebook.insertCell(2, { id: 'd', cell_type: 'code', source: 'd' });
  });
  await settle([a, b]);
  assert.deepEqual(b.ids, a.ids);
  assert.equal(b.server.entries[0]?.ops.filter(one => one.op === 'move').length, 1);
});

test('a change of type is one, and keeps what others type meanwhile', async () => {
  const [a, b] = (await open(notebookOf({ a: { source: 'x', outputs: [stream('s')] } }))) as [
    Lab,
    Lab
  ];
  a.notebook.transact(() => {
    a.notebook.deleteCell(0);
    a.notebook.insertCell(0, { id: 'a', cell_type: 'markdown', source: '# x', metadata: {} });
  });
  b.type('a', 1, 'y');
  await settle([a, b]);
  assert.equal(b.cell('a').cell_type, 'markdown');
  assert.equal(b.source('a'), '# xy');
  a.notebook.undo();
  await settle([a, b]);
  assert.equal(b.cell('a').cell_type, 'code');
  assert.equal(b.source('a'), 'xy');
  assert.deepEqual(b.cell('a').getOutputs(), [stream('s')]);
});

test('a cell that becomes code has no outputs from before: they would be trusted', async () => {
  const cell = {
    cell_type: 'markdown',
    source: 'x',
    outputs: [display('evil')],
    execution_count: 3
  };
  const [a, b] = (await open(notebookOf({ a: cell }))) as [Lab, Lab];
  a.notebook.transact(() => {
    a.notebook.deleteCell(0);
    a.notebook.insertCell(0, {
      id: 'a',
      cell_type: 'code',
      source: 'x',
      metadata: { trusted: true }
    });
  });
  await settle([a, b]);
  assert.deepEqual(b.cell('a').getOutputs(), []);
  assert.equal(b.cell('a').execution_count, null);
});

test('a split keeps what others type in the part that stays', async () => {
  const [a, b] = (await open(notebookOf({ a: 'one\ntwo' }))) as [Lab, Lab];
  a.notebook.transact(() => {
    a.notebook.insertCells(0, [{ cell_type: 'code', source: 'one', metadata: {} }]);
    a.cell('a').setSource('two');
  });
  b.type('a', 7, '!');
  await settle([a, b]);
  assert.deepEqual(
    b.notebook.cells.map(cell => cell.getSource()),
    ['one', 'two!']
  );
  a.notebook.undo();
  await settle([a, b]);
  assert.deepEqual(
    b.notebook.cells.map(cell => cell.getSource()),
    ['one\ntwo!']
  );
});

test('a merge goes on as the cell that it was made from', async () => {
  const cells = { a: 'one', b: { source: 'two', metadata: { tags: ['t'] } }, c: 'three' };
  const [a, b] = (await open(notebookOf(cells))) as [Lab, Lab];
  a.notebook.transact(() => {
    a.notebook.deleteCell(1);
    const metadata = { tags: ['t'], trusted: true };
    a.notebook.insertCell(1, { cell_type: 'code', source: 'one\n\ntwo', metadata });
    a.notebook.deleteCell(0);
  });
  assert.deepEqual(a.ids, ['b', 'c'], 'at once');
  b.type('b', 3, '!');
  await settle([a, b]);
  assert.equal(b.source('b'), 'one\n\ntwo!');
  a.notebook.undo();
  await settle([a, b]);
  assert.deepEqual(b.ids, ['a', 'b', 'c']);
  assert.equal(b.source('b'), 'two!');
});

test('ids that are none, or doubled, are given anew', async () => {
  const [a, b] = (await open(notebookOf({ a: 'x' }))) as [Lab, Lab];
  a.notebook.insertCell(1, { id: 'a', cell_type: 'code', source: 'copy' });
  a.notebook.insertCell(2, { id: 'not an id', cell_type: 'code', source: 'odd' });
  await settle([a, b]);
  assert.equal(new Set(b.ids).size, 3);
  assert.equal(b.source('a'), 'x');
});

test('metadata: the keys that differ, but for trusted', async () => {
  const cells = { a: { metadata: { jupyter: { source_hidden: true }, collapsed: true } } };
  const [a, b] = (await open(notebookOf(cells))) as [Lab, Lab];
  a.cell('a').setMetadata('tags', ['x']);
  a.cell('a').setMetadata('trusted', true);
  a.notebook.setMetadata('kernelspec', { name: 'python3', display_name: 'P' });
  await settle([a, b]);
  assert.deepEqual(lastOps(b), [
    { op: 'replace', path: '/cells/a/metadata/tags', value: ['x'] },
    {
      op: 'replace',
      path: '/metadata/kernelspec',
      value: { name: 'python3', display_name: 'P' }
    }
  ]);
  assert.equal(b.cell('a').getMetadata('trusted'), undefined);
  assert.equal(a.cell('a').getMetadata('trusted'), true);
  b.notebook.deleteMetadata('kernelspec');
  b.cell('a').deleteMetadata('tags');
  await settle([a, b]);
  assert.equal(a.notebook.getMetadata('kernelspec'), undefined);
});

test('trusted does not come with a cell, and stays here when it is moved', async () => {
  const [a, b] = (await open(notebookOf({ a: 'x', b: 'y' }))) as [Lab, Lab];
  a.notebook.insertCell(2, {
    id: 'c',
    cell_type: 'code',
    source: 'z',
    metadata: { trusted: true }
  });
  a.cell('a').setMetadata('trusted', true);
  await settle([a, b]);
  assert.equal(b.cell('c').getMetadata('trusted'), undefined);
  b.notebook.moveCell(0, 1);
  await settle([a, b]);
  assert.equal(a.cell('a').getMetadata('trusted'), true);
  assert.deepEqual((a.server.document as NotebookDocument).cells['c']?.metadata, {});
});

test('keys with a meaning in JavaScript are keys', async () => {
  const [a, b] = (await open(notebookOf({ a: 'x', constructor: 'y' }))) as [Lab, Lab];
  a.server.enter([
    { op: 'replace', path: '/cells/a/metadata/__proto__', value: { a: 1 } },
    { op: 'replace', path: '/cells/constructor/metadata/a~1b', value: 2 },
    { op: 'add', path: '/cells/__proto__', index: 0, value: newCell('raw', 'p') }
  ]);
  await settle([a, b]).catch(() => undefined); // toJSON of Yjs drops such keys
  a.type('__proto__', 1, '!');
  a.cell('a').setMetadata('k', 1);
  b.type('constructor', 0, 'z');
  for (const lab of [a, b, a, b, a, b]) {
    await lab.carry();
  }
  const { cells } = a.server.document as NotebookDocument;
  assert.ok(Object.hasOwn(cells['a']?.metadata ?? {}, '__proto__'));
  assert.equal(Object.getOwnPropertyDescriptor(cells, '__proto__')?.value.source, 'p!');
  assert.equal(cells['constructor']?.source, 'zy');
});

test('the cell that is typed in stays the same when others move it', async () => {
  const document = notebookOf({ a: 'a', b: 'b', c: 'c', d: 'd' });
  const [a, b] = (await open(document, 2, { typing: () => 'b' })) as [Lab, Lab];
  const cell = b.cell('b');
  a.notebook.moveCell(1, 3);
  await settle([a, b]);
  assert.deepEqual(b.ids, ['a', 'c', 'd', 'b']);
  assert.equal(b.cell('b'), cell);
  a.notebook.moveCell(3, 0);
  await settle([a, b]);
  assert.deepEqual(b.ids, ['b', 'a', 'c', 'd']);
  assert.equal(b.cell('b'), cell);
});

test('what may not be changed is shown as it is again', async () => {
  const [a] = (await open(notebookOf({ a: 'x', b: 'y' }), 1)) as [Lab];
  a.cut();
  a.server.write = false;
  await settle([a]);
  a.type('a', 0, 'no');
  a.notebook.deleteCell(1);
  a.notebook.setMetadata('k', 1);
  await moment();
  assert.deepEqual(a.ids, ['a', 'b']);
  assert.equal(a.source('a'), 'x');
  await settle([a]);
});

test('the state of a run is the document’s', async () => {
  const [a] = (await open(notebookOf({ a: 'x' }), 1)) as [Lab];
  a.server.enter([{ op: 'replace', path: '/cells/a/execution', value: { state: 'queued' } }]);
  await settle([a]);
  assert.equal(a.cell('a').executionState, 'running');
  a.cell('a').executionState = 'idle';
  await settle([a]);
  assert.equal(a.cell('a').executionState, 'running');
  a.server.enter([{ op: 'replace', path: '/cells/a/execution', value: { state: 'ok' } }]);
  await settle([a]);
  assert.equal(a.cell('a').executionState, 'idle');
});

test('a cell that is moved here goes on running', async () => {
  const [a] = (await open(notebookOf({ a: 'x', b: 'y' }), 1)) as [Lab];
  a.server.enter([{ op: 'replace', path: '/cells/a/execution', value: { state: 'running' } }]);
  await settle([a]);
  a.notebook.moveCell(0, 1);
  await settle([a]);
  assert.equal(a.cell('a').executionState, 'running');
});

test('a prompt of 0 is 0', async () => {
  const [a] = (await open(notebookOf({ a: { execution_count: 0 } }), 1)) as [Lab];
  a.cell('a').setMetadata('k', 1);
  await settle([a]);
  assert.equal((a.server.document as NotebookDocument).cells['a']?.execution_count, 0);
});

test('attachments, from here and from there', async () => {
  const [a, b] = (await open(notebookOf({ a: { cell_type: 'markdown' } }))) as [Lab, Lab];
  const image = { 'a.png': { 'image/png': 'AA' } };
  (a.cell('a') as unknown as { setAttachments(value: unknown): void }).setAttachments(image);
  await settle([a, b]);
  b.server.enter([{ op: 'remove', path: '/cells/a/attachments/a.png' }]);
  await settle([a, b]);
});
