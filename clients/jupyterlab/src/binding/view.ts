/** The notebook as Yjs has it: cells by id, and how a cell of the document stands there. */

import type { YNotebook } from '@jupyter/ydoc';
import {
  CELL_ID,
  CELL_TYPES,
  equal,
  get,
  newCell,
  put,
  type Cell,
  type Json,
  type JsonObject
} from 'ot-jupyter-core';
import * as Y from 'yjs';

import type { Blobs } from './blobs.js';
import { keptOutputs, outputsIn, phases, same } from './outputs.js';

export type YCell = Y.Map<unknown>;

/** See the module. */
export class NotebookView {
  readonly ycells: Y.Array<YCell>;
  readonly ymeta: Y.Map<unknown>;
  /** The cells that are in the list, by id. */
  readonly maps = new Map<string, YCell>();
  /** Cells whose outputs are still to be shown: what is seen there says nothing of the user. */
  readonly stale = new Set<string>();
  /** Cells of which JupyterLab said that they run, or do not: the document knows. */
  readonly misstated = new Set<string>();

  /** `ours` is the origin of our transactions. */
  constructor(
    readonly notebook: YNotebook,
    readonly blobs: Blobs,
    readonly ours: object
  ) {
    this.ycells = notebook.ydoc.getArray('cells');
    this.ymeta = notebook.ymeta;
  }

  get ymetadata(): Y.Map<unknown> {
    return this.ymeta.get('metadata') as Y.Map<unknown>;
  }

  /** Learn which cells are in the list now, and give those an id of their own that have none. */
  register(): string[] {
    this.maps.clear();
    return this.ycells.map(ycell => {
      let id = idOf(ycell);
      if (!CELL_ID.test(id) || this.maps.has(id)) {
        id = globalThis.crypto.randomUUID();
        this.rename(ycell, id);
      }
      this.maps.set(id, ycell);
      return id;
    });
  }

  /** Give a cell another id. */
  rename(ycell: YCell, id: string): void {
    this.notebook.ydoc.transact(() => ycell.set('id', id), this.ours);
  }

  // Reading.

  /**
   * A cell as Yjs has it; `before` is what the document has of it, `known` whether it is shown there
   * by the very same types. What a type does not have stays as it was. `metadata.trusted` is no part
   * of a document. Outputs are only taken away: others are shown again.
   */
  read(ycell: YCell, before: Cell | undefined): Cell {
    const type = String(ycell.get('cell_type'));
    const cell = { ...(before ?? newCell(type)), cell_type: type };
    cell.source = textOf(ycell).toString();
    cell.metadata = this.readMetadata(metadataOf(ycell), cell.metadata);
    if (type === 'code') {
      cell.execution_count = (ycell.get('execution_count') ?? null) as number | null;
      cell.outputs = this.readOutputs(ycell, before);
    } else {
      const attachments = (ycell.get('attachments') ?? {}) as JsonObject;
      cell.attachments = equal(attachments, cell.attachments) ? cell.attachments : attachments;
    }
    return cell;
  }

  private readMetadata(ymap: Y.Map<unknown>, before: JsonObject): JsonObject {
    const metadata = entriesOf(ymap);
    return equal(metadata, before) ? before : metadata;
  }

  private readOutputs(ycell: YCell, before: Cell | undefined): Json[] {
    const now = outputsIn(ycell.get('outputs') as Y.Array<unknown>);
    if (before === undefined) {
      return now.map(output => this.blobs.original(output));
    }
    const id = idOf(ycell);
    const shown = this.blobs.shown(before);
    const kept = this.stale.has(id) ? null : keptOutputs(now, shown, before.outputs);
    if (kept === null) {
      this.stale.add(id);
    }
    return kept ?? before.outputs;
  }

  // Writing. All of it in a transaction that is ours, but for outputs.

  /** Put a cell into the list; returned is what Yjs has of it. `trusted`: as it was here. */
  insert(index: number, id: string, cell: Cell, trusted?: unknown): YCell {
    const { cell_type, source, execution_count, attachments } = cell;
    const code = cell_type === 'code';
    const outputs = code ? this.blobs.shown(cell) : [];
    const json = {
      ...{ id, source, metadata: {} },
      ...(code ? { execution_count, outputs } : {}),
      // Any other type than these can't be shown, and none can be in a document.
      cell_type: CELL_TYPES.includes(cell_type) ? cell_type : 'raw'
    };
    const { ymodel } = this.notebook.insertCell(index, json as never);
    const ycell = ymodel as YCell;
    const ymetadata = metadataOf(ycell);
    Object.entries(cell.metadata).forEach(([key, value]) => ymetadata.set(key, value));
    if (trusted !== undefined) {
      ymetadata.set('trusted', trusted);
    }
    if (!code && Object.keys(attachments).length > 0) {
      ycell.set('attachments', attachments);
    }
    this.maps.set(id, ycell);
    this.showState(ycell, cell);
    return ycell;
  }

  /** Take the cell at an index out of the list. */
  remove(index: number, id: string): void {
    this.ycells.delete(index);
    this.maps.delete(id);
    this.stale.delete(id);
  }

  /** Take the cell at an index out and put it in again elsewhere: Yjs has no moves. */
  move(index: number, to: number, id: string, cell: Cell): void {
    const trusted = metadataOf(this.ycells.get(index)).get('trusted');
    this.remove(index, id);
    this.insert(to, id, cell, trusted);
  }

  /** Show one key of an object; undefined: it has none. */
  showKey(ymap: Y.Map<unknown>, key: string, value: Json | undefined): void {
    if (key === 'trusted') {
      return;
    }
    if (value === undefined) {
      ymap.delete(key);
    } else if (!ymap.has(key) || !equal(ymap.get(key), value)) {
      ymap.set(key, value);
    }
  }

  /** Show all keys of an object. */
  showObject(ymap: Y.Map<unknown>, object: JsonObject): void {
    const keys = new Set([...ymap.keys(), ...Object.keys(object)]);
    keys.forEach(key => this.showKey(ymap, key, get(object, key)));
  }

  /** Show what a cell has besides its parts. */
  showFields(ycell: YCell, cell: Cell): void {
    if (cell.cell_type === 'code') {
      this.showKey(ycell, 'execution_count', cell.execution_count);
    } else if (!equal(ycell.get('attachments') ?? {}, cell.attachments)) {
      ycell.set('attachments', cell.attachments);
    }
    this.showState(ycell, cell);
  }

  private showState(ycell: YCell, cell: Cell): void {
    const { state } = cell.execution;
    const shown = state === 'queued' || state === 'running' ? 'running' : 'idle';
    if (cell.cell_type === 'code' && (ycell.get('execution_state') ?? 'idle') !== shown) {
      ycell.set('execution_state', shown);
    }
  }

  /** Show what is stale, outputs in as many transactions as that takes. */
  showStale(cells: Readonly<Record<string, Cell>>): void {
    for (const id of [...this.stale]) {
      const [ycell, cell] = [this.maps.get(id), get(cells, id)];
      const youtputs = ycell?.get('outputs');
      if (cell !== undefined && youtputs instanceof Y.Array) {
        const steps = phases(outputsIn(youtputs), this.blobs.shown(cell));
        steps.forEach(step => this.notebook.ydoc.transact(() => step(youtputs), this.ours));
      }
      this.stale.delete(id);
    }
    for (const id of [...this.misstated]) {
      const [ycell, cell] = [this.maps.get(id), get(cells, id)];
      if (ycell !== undefined && cell !== undefined) {
        this.notebook.ydoc.transact(() => this.showState(ycell, cell), this.ours);
      }
    }
    this.misstated.clear();
  }

  /** Whether a cell in Yjs shows these outputs. */
  showsOutputs(ycell: YCell, cell: Cell): boolean {
    const now = outputsIn(ycell.get('outputs') as Y.Array<unknown>);
    const wanted = this.blobs.shown(cell);
    return now.length === wanted.length && now.every((one, index) => same(one, wanted[index]));
  }
}

/** The id that a cell has in Yjs. */
export function idOf(ycell: YCell): string {
  return String(ycell.get('id'));
}

/** The source of a cell in Yjs. */
export function textOf(ycell: YCell): Y.Text {
  return ycell.get('source') as Y.Text;
}

/** The metadata of a cell in Yjs. */
export function metadataOf(ycell: YCell): Y.Map<unknown> {
  return ycell.get('metadata') as Y.Map<unknown>;
}

/** An object of Yjs as the document has it. */
export function entriesOf(ymap: Y.Map<unknown>): JsonObject {
  const object: JsonObject = {};
  ymap.forEach((value, key) => {
    if (key !== 'trusted' && value !== undefined) {
      put(object, key, value as Json);
    }
  });
  return object;
}
