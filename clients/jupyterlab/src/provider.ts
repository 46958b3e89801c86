/**
 * Where JupyterLab gets its documents from: live ones from the session, all else from the server's
 * files as always.
 */

import type { Contents, IContentProvider } from '@jupyterlab/services';
import { YFile } from '@jupyter/ydoc';
import { Signal, type ISignal } from '@lumino/signaling';
import type { Session } from 'ot-jupyter-core';

import type { LiveDocuments } from './documents.js';

/** The id that widget factories name us by. */
export const PROVIDER = 'ot-jupyter';

/** Whether a path is a notebook's. */
export function isNotebookPath(path: string): boolean {
  return path.toLowerCase().endsWith('.ipynb');
}

/** See the module. `drive` has the files. */
export class LiveContents implements IContentProvider {
  constructor(
    private readonly drive: Contents.IDrive,
    private readonly documents: LiveDocuments
  ) {
    documents.renamed.connect((_, { from, to }) => {
      const [oldValue, newValue] = [{ path: from }, { path: to }];
      this._fileChanged.emit({ type: 'rename', oldValue, newValue });
    });
  }

  /** Tells of renames that others made, so that tabs follow. */
  get fileChanged(): ISignal<IContentProvider, Contents.IChangedArgs> {
    return this._fileChanged;
  }

  /** Makes the shared models. `collaborative` has JupyterLab leave saving to us. */
  readonly sharedModelFactory: Contents.ISharedFactory = {
    collaborative: true,
    createNew: ({ path, contentType }) => {
      if (contentType === 'notebook') {
        return this.documents.openNotebook(path);
      }
      // A notebook has one document, its cells: as text it can only be read.
      return isNotebookPath(path) ? new YFile() : this.documents.openFile(path);
    }
  };

  /**
   * What is known of a file. A live document has its content from the session: `content` is null,
   * or JupyterLab would put it over what is there. Without hash and with one time for all, since the
   * file follows the document, and is no news.
   */
  async get(path: string, options: Contents.IFetchOptions = {}): Promise<Contents.IModel> {
    // The id would bring the question back to us.
    const elsewhere = { ...options, contentProviderId: undefined };
    if (options.type === 'file' && isNotebookPath(path)) {
      return { ...(await this.drive.get(path, elsewhere)), writable: false };
    }
    const live = this.documents.at(path);
    if (live === null) {
      return this.drive.get(path, elsewhere);
    }
    const [model] = await Promise.all([
      this.drive.get(path, { ...elsewhere, content: false, hash: false }),
      live.session.ready
    ]);
    return this.described(model, live.session);
  }

  /** Have the server write a live document to its file now; save anything else as always. */
  async save(path: string, options: Partial<Contents.IModel> = {}): Promise<Contents.IModel> {
    const live = this.documents.at(path);
    if (live === null) {
      return this.drive.save(path, { ...options, contentProviderId: undefined });
    }
    await live.session.save();
    return this.get(path, { content: false });
  }

  private described(model: Contents.IModel, session: Session): Contents.IModel {
    const { hash: _hash, hash_algorithm: _algorithm, ...rest } = model;
    const first = this.times.get(session) ?? model.last_modified;
    this.times.set(session, first);
    const writable = model.writable && !session.readOnly;
    return { ...rest, content: null, last_modified: first, writable };
  }

  /** When the file was written last, as it was first seen. */
  private readonly times = new WeakMap<Session, string>();
  private readonly _fileChanged = new Signal<IContentProvider, Contents.IChangedArgs>(this);
}
