/**
 * Several people in one notebook, at random: what JupyterLab does to its shared model, what a kernel
 * and tools write, late messages, lost connections, undo. In the end all have the same. A run that
 * fails replays with `OT_SEED`.
 */

import assert from 'node:assert/strict';
import test from 'node:test';

import type { YCodeCell } from '@jupyter/ydoc';
import {
  diff,
  isNotebook,
  newCell,
  type Cell,
  type Change,
  type Json,
  type NotebookDocument
} from 'ot-jupyter-core';

import { Area } from './area.js';
import { Chance } from './chance.js';
import {
  complaints,
  display,
  Lab,
  moment,
  notebookOf,
  Server,
  settle,
  stream,
  typeInto
} from './world.js';

const TEXTS = ['a', 'b\n', 'word ', '😀', 'é\u0301', '\ud83d', '\ufffd', '👩‍👩‍👧', 'x = 1\n'];
const TYPES = ['code', 'markdown', 'raw'];
const STEPS = 40;

class Run {
  readonly chance: Chance;
  readonly server: Server;
  readonly labs: Lab[];
  names = 0;
  private readonly areas = new Map<object, Area>();

  constructor(
    readonly seed: number,
    file: boolean
  ) {
    this.chance = new Chance(seed);
    this.server = new Server(
      file ? { source: 'one\ntwo 😀\n' } : notebookOf({ a: 'one\ntwo 😀', b: 'x = 1', c: '' })
    );
    const fetchBlob = (): Promise<string> => Promise.resolve('all');
    const typing = (): string | null => (this.chance.happens(0.5) ? 'a' : null);
    const options = { fetchBlob, typing };
    this.labs = Array.from({ length: 3 }, () => new Lab(this.server, options));
    this.labs.forEach(lab => this.watch(lab));
  }

  async play(): Promise<void> {
    const { chance, labs } = this;
    for (const lab of labs) {
      lab.connect();
      await moment();
      while (await lab.carry());
    }
    const held = new Set<Lab>();
    for (let step = 0; step < STEPS; step++) {
      const lab = chance.of(labs);
      lab.time += chance.below(900);
      const dice = chance.next();
      if (dice < 0.6) {
        this.act(lab);
      } else if (dice < 0.66) {
        this.write();
      } else if (dice < 0.7) {
        if (held.delete(lab)) {
          lab.binding.release();
        } else {
          held.add(lab);
          lab.binding.hold();
        }
      } else if (dice < 0.74) {
        if (lab.online) {
          lab.cut();
        } else {
          lab.connect();
        }
      } else {
        await lab.carry();
      }
      if (chance.happens(0.3)) {
        await moment();
      }
    }
    held.forEach(lab => lab.binding.release());
    await settle(labs);
    assert.deepEqual(complaints.splice(0), []);
    labs.forEach(lab => this.checkAreas(lab));
    labs.forEach(lab => lab.dispose());
  }

  /** What the user does. */
  private act(lab: Lab): void {
    if (isNotebook(this.server.document)) {
      this.actOnCells(lab);
    } else {
      const { chance } = this;
      const { ysource } = lab.file;
      const dice = chance.next();
      if (dice < 0.7) {
        const at = chance.below(ysource.length + 1);
        const gone = chance.happens(0.4) ? chance.below(Math.min(5, ysource.length - at + 1)) : 0;
        typeInto(ysource, at, chance.of(TEXTS), gone);
      } else if (dice < 0.8) {
        lab.file.setSource(chance.of(TEXTS) + lab.file.getSource().slice(chance.below(4)));
      } else if (dice < 0.9) {
        lab.file.undo();
      } else {
        lab.file.redo();
      }
    }
  }

  private actOnCells(lab: Lab): void {
    const { chance } = this;
    const { notebook } = lab;
    const count = notebook.cells.length;
    const index = chance.below(Math.max(1, count));
    const cell = notebook.cells[index];
    if (cell === undefined || (count < 7 && chance.happens(0.12))) {
      notebook.insertCells(chance.below(count + 1), this.newCells());
      return;
    }
    const id = cell.getId();
    const text = cell.getSource();
    switch (chance.below(16)) {
      case 0:
      case 1:
      case 2:
      case 3: {
        const at = chance.below(text.length + 1);
        const gone = chance.happens(0.4) ? chance.below(Math.min(5, text.length - at + 1)) : 0;
        return lab.type(id, at, chance.happens(0.8) ? chance.of(TEXTS) : '', gone);
      }
      case 4:
        return cell.setSource(chance.of(TEXTS) + text.slice(chance.below(4)));
      case 5:
        return count > 1 ? notebook.deleteCell(index) : undefined;
      case 6: {
        const n = 1 + chance.below(Math.min(3, count - index));
        const to = chance.below(count);
        const inside = to >= index && to < index + n;
        return inside ? undefined : notebook.moveCells(index, to, n);
      }
      case 7:
        return this.changeType(lab, index);
      case 8:
        return this.split(lab, index);
      case 9:
        return count > 1 ? this.merge(lab, index) : undefined;
      case 10:
        return cell.setMetadata(
          chance.of(['tags', 'trusted', 'k/~', 'collapsed']),
          chance.below(3)
        );
      case 11:
        return cell.deleteMetadata(chance.of(['tags', 'k/~']));
      case 12:
        return notebook.setMetadata(chance.of(['kernelspec', 'x']), { n: chance.below(9) });
      case 13:
        if (cell.cell_type === 'code') {
          lab.cell(id).clearOutputs();
          lab.cell(id).execution_count = null;
        }
        return;
      case 14:
        return void (chance.happens(0.6) ? cell.undo() : cell.redo());
      default:
        return void (chance.happens(0.6) ? notebook.undo() : notebook.redo());
    }
  }

  private newCells(): never[] {
    const { chance } = this;
    return Array.from({ length: 1 + chance.below(2) }, () => ({
      ...{ cell_type: chance.of(TYPES), source: chance.of(TEXTS) },
      ...{ metadata: { trusted: true }, id: `n${this.names++}` }
    })) as never[];
  }

  private changeType({ notebook }: Lab, index: number): void {
    const { id, source, metadata } = notebook.getCell(index).toJSON();
    const cell_type = this.chance.of(TYPES);
    notebook.transact(() => {
      notebook.deleteCell(index);
      notebook.insertCell(index, {
        id,
        cell_type,
        source: `${source as string}#`,
        metadata
      } as never);
    });
  }

  private split(lab: Lab, index: number): void {
    const cell = lab.notebook.getCell(index);
    const { cell_type, metadata } = cell.toJSON();
    const text = cell.getSource();
    const at = this.chance.below(text.length + 1);
    lab.notebook.transact(() => {
      const above = { cell_type, metadata, source: text.slice(0, at), id: `n${this.names++}` };
      lab.notebook.insertCells(index, [above as never]);
      cell.setSource(text.slice(at));
    });
  }

  private merge({ notebook }: Lab, index: number): void {
    const active = Math.max(1, index);
    const { cell_type, metadata } = notebook.getCell(active).toJSON();
    const source = [active - 1, active].map(one => notebook.getCell(one).getSource()).join('\n\n');
    notebook.transact(() => {
      notebook.deleteCell(active);
      notebook.insertCell(active, { cell_type, metadata, source, id: `n${this.names++}` } as never);
      notebook.deleteCell(active - 1);
    });
  }

  /** What a kernel or a tool writes. */
  private write(): void {
    const { chance, server } = this;
    const { document } = server;
    if (!isNotebook(document)) {
      server.enter([{ op: 'edit', path: '/source', delta: [chance.of(['k', '😀'])] }]);
      return;
    }
    const id = chance.of(document.order);
    const cell = document.cells[id] as Cell | undefined;
    const tool = chance.happens(0.4) || cell === undefined;
    server.enter(tool ? this.toolOps(document) : this.kernelOps(id, cell));
  }

  private kernelOps(id: string, { outputs }: Cell): Change {
    const { chance } = this;
    const blobs = { text: { hash: 'a'.repeat(32), size: 9, type: 'text/plain' } };
    const large = { ...(stream('big', 'stderr') as Record<string, Json>), blobs };
    const all: Json[] = [display('d'), stream('s', 'stdout'), large, display('e')];
    const next = all.filter(() => chance.happens(0.5));
    const state = chance.of(['queued', 'running', 'ok']);
    const changed = diff(
      notebookOf({ x: { outputs } }),
      notebookOf({ x: { outputs: next, execution_count: chance.below(3) } })
    ).map(one => ({ ...one, path: one.path.replace('/x/', `/${id}/`) }));
    return [{ op: 'replace', path: `/cells/${id}/execution`, value: { state } }, ...changed];
  }

  private toolOps(document: NotebookDocument): Change {
    const { chance } = this;
    const order = [...document.order].sort(() => chance.next() - 0.5);
    const cells = { ...document.cells };
    if (chance.happens(0.5)) {
      const id = `t${this.names++}`;
      cells[id] = newCell(chance.of(TYPES), 'tool', { k: { deep: [1, '😀'] } });
      order.splice(chance.below(order.length + 1), 0, id);
    }
    return diff(document, { ...document, cells, order });
  }

  /** Follow the cells of a lab as its page does. */
  private watch({ notebook }: Lab): void {
    notebook.changed.connect(() => {
      for (const cell of notebook.cells) {
        if (cell.cell_type === 'code' && !this.areas.has(cell)) {
          this.areas.set(cell, new Area(cell as YCodeCell));
        }
      }
    });
  }

  /** What the pages show is what there is. */
  private checkAreas({ notebook }: Lab): void {
    for (const cell of notebook.cells) {
      if (cell.cell_type === 'code') {
        const outputs = this.areas.get(cell)?.outputs;
        assert.deepEqual(outputs, (cell as YCodeCell).getOutputs());
      }
    }
  }
}

const runs = Number(process.env['OT_RUNS'] ?? 150);
const only = process.env['OT_SEED'];

for (const [title, file] of [
  ['notebooks', false],
  ['files', true]
] as const) {
  test(`all are equal in the end: ${title}`, async () => {
    const seeds =
      only === undefined ? Array.from({ length: runs }, (_, seed) => seed) : [Number(only)];
    for (const seed of seeds) {
      try {
        await new Run(seed, file).play();
      } catch (error) {
        throw new Error(`OT_SEED=${seed}: ${String((error as Error).stack)}`, { cause: error });
      }
    }
  });
}
