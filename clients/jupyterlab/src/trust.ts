/**
 * Whose outputs may bring HTML and JavaScript to life here. JupyterLab's rules, with nothing said by
 * other people: what the server trusts when the notebook is opened, what this person runs or trusts,
 * and cells that come without outputs, since all that they will show was run here.
 */

import { CodeCellModel, type ICellModel } from '@jupyterlab/cells';
import type { NotebookPanel } from '@jupyterlab/notebook';
import type { Contents } from '@jupyterlab/services';
import {
  isNotebook,
  pointer,
  type Change,
  type Json,
  type NotebookDocument
} from 'ot-jupyter-core';

import type { LiveDocument } from './documents.js';

/** Keep the trust in a notebook's cells. Returns how to stop it. */
export function followTrust(
  panel: NotebookPanel,
  { session }: LiveDocument,
  contents: Contents.IManager
): () => void {
  const gone = new Set<string>(); // trusted cells that were taken out, perhaps for a move
  const cells = panel.content.model?.cells;
  let opened = false;
  cells?.changed.connect((_, change) => {
    for (const cell of change.type === 'remove' ? change.oldValues : []) {
      if (cell.trusted) {
        gone.add(cell.id);
      }
    }
    for (const cell of change.type === 'add' && opened ? change.newValues : []) {
      if (cell instanceof CodeCellModel && cell.outputs.length === 0) {
        cell.trusted = true;
      }
    }
  });
  void panel.context.ready.then(async () => {
    opened = true;
    const document = session.document as NotebookDocument;
    const trusted = bringsCode(document)
      ? trustedIn(await contents.get(session.path, { type: 'notebook', content: true }))
      : null;
    for (const cell of cells ?? []) {
      if (trusted === null || trusted.has(cell.id)) {
        trust(cell);
      }
    }
  });
  return session.subscribe(event => {
    if (event.type === 'change' && isNotebook(session.document)) {
      for (const cell of cells ?? []) {
        if (gone.has(cell.id) && moves(event.ops, cell.id)) {
          trust(cell);
        }
      }
      gone.clear();
    }
  });
}

function trust(cell: ICellModel): void {
  if (cell.type === 'code' && !cell.trusted) {
    cell.trusted = true;
  }
}

function moves(ops: Change, id: string): boolean {
  return ops.some(one => one.op === 'move' && one.path === pointer('cells', id));
}

/** Whether there are outputs that nbformat does not take to be harmless. */
function bringsCode({ cells }: NotebookDocument): boolean {
  return Object.values(cells).some(cell => cell.outputs.some(isRich));
}

function isRich(output: Json): boolean {
  const type =
    output !== null && typeof output === 'object' && !Array.isArray(output)
      ? output['output_type']
      : '';
  return type === 'display_data' || type === 'execute_result';
}

/** The ids of the cells that the server trusts. */
function trustedIn(model: Contents.IModel): Set<string> {
  const { cells } = model.content as { cells: { id?: string; metadata: { trusted?: boolean } }[] };
  return new Set(cells.filter(cell => cell.metadata.trusted === true).map(cell => cell.id ?? ''));
}
