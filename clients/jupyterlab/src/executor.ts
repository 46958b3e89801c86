/** Every way to run a cell asks the server to run it. */

import { Dialog, Notification, showDialog, type ISessionContext } from '@jupyterlab/apputils';
import { CodeCell } from '@jupyterlab/cells';
import { KernelError, runCell, type INotebookCellExecutor } from '@jupyterlab/notebook';
import type { TranslationBundle } from '@jupyterlab/translation';
import { isNotebook, type Run, type Session } from 'ot-jupyter-core';

import type { LiveDocuments } from './documents.js';

type Options = INotebookCellExecutor.IRunCellOptions;

/** Cells that one command runs: the rest of them is not run if one fails. */
interface Batch {
  readonly cells: string[];
  readonly runs: Promise<ReadonlyMap<string, Run> | null>;
}

/**
 * Runs code cells of live notebooks on the server, after the edits before; all else as JupyterLab
 * does. The outputs come with the document.
 */
export class CellExecutor implements INotebookCellExecutor {
  constructor(
    private readonly documents: LiveDocuments,
    private readonly trans: TranslationBundle
  ) {}

  /** Whether the cell ran without an error. */
  async runCell(options: Options): Promise<boolean> {
    const live = this.documents.of(options.notebook.sharedModel);
    if (live === null || options.cell.model.type !== 'code') {
      return runCell(options);
    }
    return this.runCode(live.session, options);
  }

  private async runCode(session: Session, options: Options): Promise<boolean> {
    const { cell, onCellExecuted, onCellExecutionScheduled } = options;
    const id = cell.model.sharedModel.getId();
    const batch = this.join(session, id, options);
    onCellExecutionScheduled({ cell });
    if (cell instanceof CodeCell) {
      cell.outputHidden = false;
      cell.model.trusted = true; // what this person runs, this person trusts
    }
    const run = (await batch.runs)?.get(id);
    if (run === undefined || cell.isDisposed) {
      return false;
    }
    const success = run.state === 'ok';
    onCellExecuted(success ? { cell, success } : { cell, success, error: errorOf(run) });
    return success;
  }

  /** JupyterLab calls for each cell of a command, one right after the other. */
  private join(session: Session, id: string, options: Options): Batch {
    let batch = this.gathering.get(session);
    if (batch === undefined || batch.cells.includes(id)) {
      const cells: string[] = [];
      batch = { cells, runs: this.send(session, cells, options) };
      this.gathering.set(session, batch);
    }
    batch.cells.push(id);
    return batch;
  }

  private async send(
    session: Session,
    cells: string[],
    options: Options
  ): Promise<ReadonlyMap<string, Run> | null> {
    await Promise.resolve(); // the other cells of the command join
    const ready = await this.haveKernel(session, options);
    if (this.gathering.get(session)?.cells === cells) {
      this.gathering.delete(session);
    }
    if (!ready) {
      return null;
    }
    try {
      const runs = await session.run(cells).done;
      return new Map(runs.map(run => [run.cell, run]));
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      Notification.warning(this.trans.__('Not run: %1', why), { autoClose: 5000 });
      return null;
    }
  }

  /** Whether there is a kernel to run on, or may be; who has none is asked for one, as always. */
  private async haveKernel(session: Session, options: Options): Promise<boolean> {
    const { sessionContext, sessionDialogs } = options;
    if (sessionContext === undefined || hasKernel(session) || !isConnected(session)) {
      return true;
    }
    if (sessionContext.isTerminating) {
      await this.tellTerminating(sessionContext);
      return false;
    }
    if (sessionContext.hasNoKernel) {
      const shouldSelect = await sessionContext.startKernel();
      if (shouldSelect && sessionDialogs !== undefined) {
        await sessionDialogs.selectKernel(sessionContext);
      }
    }
    return !sessionContext.hasNoKernel;
  }

  private async tellTerminating(sessionContext: ISessionContext): Promise<void> {
    await showDialog({
      title: this.trans.__('Kernel Terminating'),
      body: this.trans.__(
        'The kernel for %1 is ending. You can not run any cell for now.',
        sessionContext.session?.path
      ),
      buttons: [Dialog.okButton()]
    });
  }

  private readonly gathering = new Map<Session, Batch>();
}

/** Whether the server has a kernel for the document. */
function hasKernel(session: Session): boolean {
  const { document } = session;
  return isNotebook(document) && (document.kernel?.['state'] ?? 'none') !== 'none';
}

/** How a run failed, as JupyterLab tells it. */
function errorOf(run: Run): KernelError {
  const error = run.outputs.find(
    output =>
      typeof output === 'object' &&
      output !== null &&
      !Array.isArray(output) &&
      output['output_type'] === 'error'
  );
  const { ename, evalue, traceback } = (error ?? {}) as Record<string, unknown>;
  return new KernelError({
    status: 'error',
    execution_count: run.executionCount ?? 0,
    ename: String(ename ?? run.state),
    evalue: String(evalue ?? run.reason),
    traceback: Array.isArray(traceback) ? traceback.map(String) : [],
    user_expressions: {},
    payload: []
  } as never);
}

/** Whether there is a server to run on; if not, asking for the run says so. */
function isConnected(session: Session): boolean {
  return session.status !== 'offline' && session.status !== 'opening';
}
