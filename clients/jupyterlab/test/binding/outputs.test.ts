/** Outputs: what the kernel writes, as the output area can show it; what JupyterLab writes. */

import assert from 'node:assert/strict';
import test from 'node:test';

import type { Delta, Json, NotebookDocument } from 'ot-jupyter-core';

import { Area } from './area.js';
import { Chance } from './chance.js';
import { display, type Lab, moment, notebookOf, open, settle, Server, stream } from './world.js';

const PATH = '/cells/a/outputs';

async function withOutputs(outputs: Json[]): Promise<[Lab, Area]> {
  const [lab] = (await open(notebookOf({ a: { outputs } }), 1)) as [Lab];
  return [lab, new Area(lab.cell('a'))];
}

async function write(lab: Lab, delta: Delta): Promise<void> {
  lab.server.enter([{ op: 'edit', path: PATH, delta }]);
  await settle([lab]);
}

function outputsOf(lab: Lab): Json[] {
  return (lab.server.document as NotebookDocument).cells['a']?.outputs ?? [];
}

test('what a run writes is appended, and the area is never blank', async () => {
  const [lab, area] = await withOutputs([]);
  await write(lab, [[stream('one\n')]]);
  await write(lab, [{ text: [4, 'two\n'] }]);
  await write(lab, [1, [display('d')]]);
  await write(lab, [2, [stream('three 1%')]]);
  await write(lab, [2, { text: [6, '2%', -2] }]);
  await write(lab, [2, { text: [8, '\nend'] }, [stream('e', 'stderr')]]);
  assert.deepEqual(area.outputs, outputsOf(lab));
  assert.equal(area.blanks, 0);
});

test('an output in the middle, and one that is replaced', async () => {
  const [lab, area] = await withOutputs([display('a'), stream('s'), display('b')]);
  await write(lab, [1, [display('m')]]);
  assert.deepEqual(area.outputs, outputsOf(lab));
  await write(lab, [[display('a2')], -1]);
  assert.deepEqual(area.outputs, outputsOf(lab));
  await write(lab, [2, { text: [1, '!'] }]);
  assert.deepEqual(area.outputs, outputsOf(lab));
});

test('cleared and filled at once', async () => {
  const [lab, area] = await withOutputs([stream('old'), display('x')]);
  await write(lab, [[stream('new')], -2]);
  assert.deepEqual(area.outputs, [stream('new')]);
  await write(lab, [[stream('other', 'stderr')], -1]);
  assert.deepEqual(area.outputs, [stream('other', 'stderr')]);
});

test('a stream at the end goes, and one of its name comes', async () => {
  const [lab, area] = await withOutputs([display('x'), stream('old')]);
  await write(lab, [1, -1]);
  await write(lab, [1, [stream('new')]]);
  assert.deepEqual(area.outputs, [display('x'), stream('new')]);
});

test('no pair is cut in a stream', async () => {
  const [lab, area] = await withOutputs([stream('a😀')]);
  await write(lab, [{ text: [1, '😁', -1] }]);
  assert.deepEqual(area.outputs, [stream('a😁')]);
});

test('any outputs after any outputs', async () => {
  const all = [stream('ab'), stream('abc'), stream('x', 'stderr'), display('1'), display('2')];
  const pick = (chance: Chance): Json[] => {
    const picked: Json[] = [];
    while (chance.happens(0.7)) {
      const next = chance.of(all);
      const name = (one: Json | undefined): unknown => (one as { name?: string } | undefined)?.name;
      if (name(next) === undefined || name(next) !== name(picked.at(-1))) {
        picked.push(next);
      }
    }
    return picked;
  };
  for (let seed = 0; seed < 60; seed++) {
    const chance = new Chance(seed);
    const [lab, area] = await withOutputs(pick(chance));
    for (let step = 0; step < 5; step++) {
      const next = pick(chance);
      const delta: Delta = [
        ...(next.length ? [next] : []),
        ...(outputsOf(lab).length ? [-outputsOf(lab).length] : [])
      ];
      await write(lab, delta);
      assert.deepEqual(area.outputs, outputsOf(lab), `seed ${seed}`);
    }
    lab.dispose();
  }
});

test('clearing is an edit that only removes, and can’t be undone', async () => {
  const [a, b] = (await open(
    notebookOf({ a: { outputs: [stream('s'), display('d')], execution_count: 2 } })
  )) as [Lab, Lab];
  a.cell('a').clearOutputs();
  a.cell('a').execution_count = null;
  await settle([a, b]);
  assert.deepEqual(a.server.entries[0]?.ops[0], { op: 'edit', path: PATH, delta: [-2] });
  assert.equal(a.notebook.canUndo(), false);
});

test('one output is removed', async () => {
  const [a, b] = (await open(notebookOf({ a: { outputs: [stream('s'), display('d')] } }))) as [
    Lab,
    Lab
  ];
  a.cell('a').updateOutputs(0, 1, [], 'silent-change');
  await settle([a, b]);
  assert.deepEqual(a.server.entries[0]?.ops, [{ op: 'edit', path: PATH, delta: [-1] }]);
});

test('other writes to outputs are put back', async () => {
  const [lab, area] = await withOutputs([stream('s'), display('d')]);
  lab.cell('a').updateOutputs(2, 2, [display('mine')] as never);
  lab.cell('a').appendStreamOutput(0, 'more', 'silent-change');
  await moment();
  await settle([lab]);
  assert.equal(lab.server.rev, 0);
  assert.deepEqual(area.outputs, [stream('s'), display('d')]);
});

test('outputs that JupyterLab writes back as they are are no change', async () => {
  const { metadata: _metadata, ...bare } = display('d') as Record<string, Json>;
  const [lab] = await withOutputs([bare]);
  lab.cell('a').updateOutputs(0, 1, [display('d')] as never, 'silent-change');
  await moment();
  assert.equal(lab.session.unsaved, 0);
});

// Large outputs.

const HASH = '0123456789abcdef0123456789abcdef';
const excerpt = {
  ...{ output_type: 'stream', name: 'stdout', text: 'first\n[…]\nlast\n' },
  blobs: { text: { hash: HASH, size: 100000, type: 'text/plain' } }
};
const image = {
  ...{ output_type: 'display_data', data: {}, metadata: {} },
  blobs: { 'image/png': { hash: HASH, size: 100000, type: 'image/png' } }
};

test('a large output is fetched when the run is over, shown, and never sent', async () => {
  const fetched: string[] = [];
  const fetchBlob = async (hash: string): Promise<string> => {
    fetched.push(hash);
    return 'all of it';
  };
  const running = { outputs: [], execution: { state: 'running' } };
  const [lab] = (await open(notebookOf({ a: running }), 1, { fetchBlob })) as [Lab];
  const text = (): unknown => (lab.cell('a').getOutputs()[0] as unknown as { text: string }).text;
  await write(lab, [[excerpt]]);
  assert.equal(text(), excerpt.text);
  assert.deepEqual(fetched, []);
  lab.server.enter([{ op: 'replace', path: '/cells/a/execution', value: { state: 'ok' } }]);
  await carryAll(lab);
  assert.deepEqual(fetched, [HASH]);
  assert.equal(text(), 'all of it');
  lab.cell('a').setMetadata('k', 1);
  lab.notebook.moveCells(0, 0, 1);
  await carryAll(lab);
  assert.deepEqual(outputsOf(lab), [excerpt]);
  assert.equal(text(), 'all of it');
});

test('a copy of a cell refers to what the document has', async () => {
  const cells = { a: { outputs: [excerpt, image] } };
  const server = new Server(notebookOf(cells));
  const { Lab } = await import('./world.js');
  const lab = new Lab(server, { fetchBlob: () => Promise.resolve('full') });
  lab.connect();
  await carryAll(lab);
  const copy = { ...lab.cell('a').toJSON(), id: 'copy' };
  assert.equal((copy.outputs[0] as unknown as { text: string }).text, 'full');
  lab.notebook.insertCell(1, copy as never);
  await carryAll(lab);
  const { cells: now } = server.document as NotebookDocument;
  assert.deepEqual(now['copy']?.outputs, [excerpt, image]);
});

test('what is kept no more stays an excerpt, or a line that says what it was', async () => {
  const fetchBlob = (): Promise<string> => Promise.reject(new Error('404'));
  const server = new Server(notebookOf({ a: { outputs: [excerpt, image] } }));
  const { Lab } = await import('./world.js');
  const lab = new Lab(server, { fetchBlob });
  lab.connect();
  await carryAll(lab);
  const [first, second] = lab.cell('a').getOutputs() as unknown as [
    { text: string },
    { data: Record<string, string> }
  ];
  assert.equal(first.text, excerpt.text);
  assert.match(second.data['text/plain'] ?? '', /image\/png, 100,000 bytes/);
  lab.cell('a').clearOutputs();
  await carryAll(lab);
  assert.deepEqual(outputsOf(lab), []);
});

async function carryAll(lab: Lab): Promise<void> {
  await moment();
  while (await lab.carry());
  await moment();
}
