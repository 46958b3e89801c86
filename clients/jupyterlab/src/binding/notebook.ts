/** A notebook in JupyterLab, and its session. */

import type { YNotebook } from '@jupyter/ydoc';
import {
  isNotebook,
  segments,
  type Change,
  type Document,
  type NotebookDocument,
  type Session
} from 'ot-jupyter-core';
import type * as Y from 'yjs';

import { Binding, type BindingOptions, type Local } from './binding.js';
import { Blobs, type FetchBlob } from './blobs.js';
import { readNotebook } from './local.js';
import { showNotebook, writeNotebook } from './remote.js';
import { endOf } from './texts.js';
import { showPlace, takeOver } from './undo.js';
import { NotebookView, textOf } from './view.js';

/** How a binding of a notebook is made. */
export interface NotebookOptions extends BindingOptions {
  /** Fetches what outputs refer to. Default: they stay excerpts. */
  fetchBlob?: FetchBlob;
  /** The id of the cell that is typed in, null if none. */
  typing?: () => string | null;
}

/** Keeps a shared model and a session equal, in both directions. */
export class NotebookBinding extends Binding<NotebookDocument> {
  private readonly view: NotebookView;
  private readonly typing: () => string | null;
  private readonly taken = new WeakSet<object>();

  constructor(
    session: Session,
    private readonly notebook: YNotebook,
    options: NotebookOptions = {}
  ) {
    super(session, notebook, options);
    const blobs = new Blobs(options.fetchBlob ?? null, hash => this.arrived(hash));
    this.view = new NotebookView(notebook, blobs, this);
    this.typing = options.typing ?? (() => null);
    takeOver(
      notebook,
      session,
      () => '',
      () => undefined
    );
    notebook.changed.connect(this.onChanged, this);
    this.takeCells();
  }

  override dispose(): void {
    this.notebook.changed.disconnect(this.onChanged, this);
    super.dispose();
  }

  protected override fits(document: Document): boolean {
    return isNotebook(document);
  }

  protected override read(transaction: Y.Transaction, shown: NotebookDocument): Local | null {
    return readNotebook(transaction, shown, this.view);
  }

  protected override write(ops: Change, before: NotebookDocument, after: NotebookDocument): void {
    if (ops.length > 0) {
      this.ours(() => writeNotebook(ops, before, after, this.view, this.typing()));
    }
    this.view.showStale(after.cells);
  }

  protected override show(document: NotebookDocument): void {
    this.ours(() => showNotebook(document, this.view));
    this.view.showStale(document.cells);
  }

  private arrived(hash: string): void {
    for (const [id, cell] of Object.entries(this.shown?.cells ?? {})) {
      if (this.view.blobs.refers(cell, hash)) {
        this.view.stale.add(id);
      }
    }
    this.soon();
  }

  /** JupyterLab hears of new cells after us, so nothing undoes them before they are ours. */
  private onChanged(_: unknown, change: { cellsChange?: unknown }): void {
    if (change.cellsChange !== undefined) {
      this.takeCells();
    }
  }

  private takeCells(): void {
    for (const cell of this.notebook.cells) {
      if (!this.taken.has(cell)) {
        this.taken.add(cell);
        const scope = (): string => (this.notebook.disableDocumentWideUndoRedo ? cell.getId() : '');
        takeOver(cell, this.session, scope, () => this.showUndone(cell.getId()));
      }
    }
  }

  private showUndone(id: string): void {
    const last = this.undone.at(-1);
    this.undone = [];
    const cell = this.notebook.cells.find(one => one.getId() === id);
    const [, where, field] = last === undefined ? [] : segments(last.path);
    if (last?.op === 'edit' && where === id && field === 'source' && cell !== undefined) {
      const ytext = textOf(cell.ymodel);
      showPlace(cell.undoManager, ytext, endOf(last.delta, ytext.toString()));
    }
  }
}
