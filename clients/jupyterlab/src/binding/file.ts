/** A text file in JupyterLab, and its session. */

import type { YFile } from '@jupyter/ydoc';
import {
  isNotebook,
  type Change,
  type Document,
  type Session,
  type TextDocument
} from 'ot-jupyter-core';
import type * as Y from 'yjs';

import { Binding, type BindingOptions, type Local } from './binding.js';
import { endOf, readText, showText, writeEdit } from './texts.js';
import { showPlace, takeOver } from './undo.js';

/** Keeps a shared model and a session equal, in both directions. */
export class FileBinding extends Binding<TextDocument> {
  constructor(
    session: Session,
    private readonly file: YFile,
    options: BindingOptions = {}
  ) {
    super(session, file, options);
    takeOver(
      file,
      session,
      () => '',
      () => this.showUndone()
    );
  }

  protected override fits(document: Document): boolean {
    return !isNotebook(document);
  }

  protected override read(transaction: Y.Transaction, { source }: TextDocument): Local | null {
    const { ysource } = this.file;
    if (!transaction.changed.has(ysource as never)) {
      return null;
    }
    const { delta, wrong } = readText(transaction, ysource, source);
    const ops: Change = delta.length > 0 ? [{ op: 'edit', path: '/source', delta }] : [];
    return { ops, scope: transaction.origin === null ? null : '', wrong };
  }

  protected override write(ops: Change, before: TextDocument, after: TextDocument): void {
    if (ops.length > 0) {
      this.ours(() => {
        let { source } = before;
        for (const one of ops) {
          source = writeEdit(this.file.ysource, source, one);
        }
        if (source.length !== after.source.length) {
          showText(this.file.ysource, after.source);
        }
      });
    }
  }

  protected override show({ source }: TextDocument): void {
    this.ours(() => showText(this.file.ysource, source));
  }

  private showUndone(): void {
    const last = this.undone.at(-1);
    this.undone = [];
    if (last?.op === 'edit') {
      const { ysource, undoManager } = this.file;
      showPlace(undoManager, ysource, endOf(last.delta, ysource.toString()));
    }
  }
}
