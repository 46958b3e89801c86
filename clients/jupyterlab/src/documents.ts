/**
 * The documents that this window has open live: for each one the session with the server, the
 * shared model that JupyterLab shows, and what keeps the two equal.
 */

import { YFile, YNotebook } from '@jupyter/ydoc';
import { Signal, type ISignal } from '@lumino/signaling';
import type { Connection, Session } from 'ot-jupyter-core';

import { FileBinding, NotebookBinding } from './binding/index.js';
import { addFirstCell } from './first.js';
import { People } from './people.js';
import { Unsaved } from './unsaved.js';

/** One document that is open live. */
export interface LiveDocument {
  readonly session: Session;
  readonly model: YNotebook | YFile;
  readonly binding: NotebookBinding | FileBinding;
  readonly people: People;
  /** The id of the cell whose editor has the keyboard, null if none has it. */
  readonly typing: { cell: string | null };
  readonly unsaved: Unsaved;
}

/** See the module. */
export class LiveDocuments {
  /** `fetchBlob` gets what outputs of a document refer to, by the document's id and the hash. */
  constructor(
    private readonly connection: Connection,
    private readonly fetchBlob: (doc: string, hash: string) => Promise<string>
  ) {}

  /** Emitted when a document has another path than before. */
  get renamed(): ISignal<this, { from: string; to: string }> {
    return this._renamed;
  }

  /** Whether there is one. */
  get any(): boolean {
    return this.open.size > 0;
  }

  /** A new shared model of a notebook; it is filled when the document has come. */
  openNotebook(path: string): YNotebook {
    const model = new YNotebook({ disableDocumentWideUndoRedo: true });
    const session = this.connection.open(path, { kind: 'notebook' });
    const typing: LiveDocument['typing'] = { cell: null };
    const binding = new NotebookBinding(session, model, {
      fetchBlob: hash => this.fetchBlob(session.id, hash),
      typing: () => typing.cell
    });
    this.add(session, model, binding, typing);
    session.ready.then(
      () => addFirstCell(session, model),
      () => undefined // whoever asked for the content is told
    );
    return model;
  }

  /** A new shared model of a text file; it is filled when the document has come. */
  openFile(path: string): YFile {
    const model = new YFile();
    const session = this.connection.open(path, { kind: 'text' });
    this.add(session, model, new FileBinding(session, model));
    return model;
  }

  /** The document of a shared model, null if that is not live. */
  of(model: object): LiveDocument | null {
    return this.open.get(model) ?? null;
  }

  /** The document of a path, null if there is none. */
  at(path: string): LiveDocument | null {
    for (const live of this.open.values()) {
      if (live.session.path === path) {
        return live;
      }
    }
    return null;
  }

  private add(
    session: Session,
    model: LiveDocument['model'],
    binding: LiveDocument['binding'],
    typing: LiveDocument['typing'] = { cell: null }
  ): void {
    const [people, unsaved] = [new People(session), new Unsaved(session)];
    this.open.set(model, { session, model, binding, people, unsaved, typing });
    let path = session.path;
    const stop = session.subscribe(() => {
      const from = path;
      path = session.path;
      if (from !== path) {
        this._renamed.emit({ from, to: path });
      }
    });
    model.disposed.connect(() => {
      stop();
      this.open.delete(model);
      binding.dispose();
      session.dispose();
    });
  }

  private readonly open = new Map<object, LiveDocument>();
  private readonly _renamed = new Signal<this, { from: string; to: string }>(this);
}
