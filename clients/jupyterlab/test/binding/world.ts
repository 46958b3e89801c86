/** A server made of core's transforms, and JupyterLabs that follow a document of it. */

import assert from 'node:assert/strict';
import { afterEach } from 'node:test';

import { YFile, YNotebook, type YCodeCell } from '@jupyter/ydoc';
import {
  apply,
  checkChange,
  equal,
  isNotebook,
  newCell,
  Session,
  transformChanges,
  type Cell,
  type Change,
  type ClientMessage,
  type Document,
  type EntryMessage,
  type Json,
  type Link,
  type NotebookDocument,
  type OpenMessage,
  type ServerMessage,
  type SubmitMessage,
  type TextDocument
} from 'ot-jupyter-core';
import type * as Y from 'yjs';

import { FileBinding, NotebookBinding, type NotebookOptions } from '../../src/binding/index.js';

/** What our own code complained of. (Yjs warns of the way in which `@jupyter/ydoc` makes cells.) */
export const complaints: string[] = [];
console.warn = console.error = (text: unknown, ...more: unknown[]) => {
  if (String(text).startsWith('ot-jupyter')) {
    complaints.push([text, ...more].map(one => (one as Error).stack ?? String(one)).join(' '));
  }
};

type Entry = EntryMessage & { client: string; ops: Change };

/** Puts changes in order and tells all who follow. */
export class Server {
  readonly entries: Entry[] = [];
  write = true;
  private readonly seen = new Map<string, number>();
  private readonly followers = new Map<Lab, string>();

  constructor(
    public document: Document,
    readonly path = 'a.ipynb'
  ) {}

  get rev(): number {
    return this.entries.length;
  }

  take(from: Lab, message: ClientMessage): void {
    if (message.type === 'open') {
      this.open(from, message as OpenMessage);
    } else if (message.type === 'submit') {
      this.submit(from, message as SubmitMessage);
    }
  }

  leave(lab: Lab): void {
    this.followers.delete(lab);
  }

  /** Write as somebody else. */
  enter(ops: Change, client = 'kernel:1'): void {
    this.commit(client, (this.seen.get(client) ?? 0) + 1, this.rev, ops);
  }

  private open(from: Lab, { client, known }: OpenMessage): void {
    this.followers.set(from, client);
    const since = known?.[0]?.[0] ?? this.rev;
    from.tell({
      ...{ type: 'opened', asked: this.path, path: this.path, doc: 'd1', epoch: 'e1' },
      ...{ kind: isNotebook(this.document) ? 'notebook' : 'text', user: null, presence: [] },
      ...{ rev: this.rev, hash: `h${this.rev}`, n: this.seen.get(client) ?? 0, write: this.write },
      ...{ since, entries: this.entries.slice(since) },
      ...(known ? {} : { document: this.document })
    } as ServerMessage);
  }

  private submit(from: Lab, { n, base, ops }: SubmitMessage): void {
    const client = this.followers.get(from);
    if (client !== undefined && n <= (this.seen.get(client) ?? 0)) {
      from.tell({ type: 'repeated', doc: 'd1', n, rev: this.rev, hash: `h${this.rev}` });
    } else if (client !== undefined) {
      checkChange(ops, { notebook: isNotebook(this.document), fromClient: true });
      this.commit(client, n, base, ops);
    }
  }

  private commit(client: string, n: number, base: number, ops: Change): void {
    for (const entry of this.entries.slice(base)) {
      [ops] = transformChanges(ops, entry.ops, { later: true });
    }
    this.document = apply(this.document, ops);
    const [prev, from] = [`h${this.rev}`, this.rev + 1];
    const entry: Entry = { rev: from, client, n, hash: `h${from}`, ops };
    this.entries.push(entry);
    this.seen.set(client, n);
    for (const follower of this.followers.keys()) {
      follower.tell({ type: 'entries', doc: 'd1', epoch: 'e1', from, prev, entries: [entry] });
    }
  }
}

/** One browser: a session, its shared model, the binding; and a line to the server. */
export class Lab implements Link {
  readonly patience = 1e8;
  readonly session: Session;
  readonly notebook = new YNotebook({ disableDocumentWideUndoRedo: true });
  readonly file = new YFile();
  readonly binding: NotebookBinding | FileBinding;
  online = false;
  /** A clock in ms. */
  time = 0;
  private out: string[] = [];
  private in: string[] = [];

  constructor(
    readonly server: Server,
    options: NotebookOptions = {}
  ) {
    labs.add(this);
    this.session = new Session(this, server.path, { client: `c${names++}` });
    const withClock = { now: () => this.time, ...options };
    this.binding = isNotebook(server.document)
      ? new NotebookBinding(this.session, this.notebook, withClock)
      : new FileBinding(this.session, this.file, withClock);
  }

  send(message: ClientMessage): void {
    this.out.push(JSON.stringify(message));
  }

  tell(message: ServerMessage): void {
    this.in.push(JSON.stringify(message));
  }

  reconnect(): void {
    this.cut();
  }

  /** Carry one message in each direction, if there are any. Whether there were. */
  async carry(): Promise<boolean> {
    const [out, inward] = [this.out.shift(), this.in.shift()];
    if (out !== undefined) {
      this.server.take(this, JSON.parse(out) as ClientMessage);
    }
    if (inward !== undefined) {
      this.session.sync.receive(JSON.parse(inward) as ServerMessage);
    }
    await moment();
    return out !== undefined || inward !== undefined;
  }

  /** The connection breaks, and what is on its way is lost. */
  cut(): void {
    this.online = false;
    [this.out, this.in] = [[], []];
    this.server.leave(this);
    this.session.sync.disconnected();
  }

  connect(): void {
    this.online = true;
    this.session.sync.connected();
  }

  // What JupyterLab shows.

  get ids(): string[] {
    return this.notebook.cells.map(cell => cell.getId());
  }

  cell(id: string): YCodeCell {
    const found = this.notebook.cells.find(one => one.getId() === id);
    assert.ok(found, `there is a cell '${id}'`);
    return found as YCodeCell;
  }

  source(id: string): string {
    return this.cell(id).getSource();
  }

  /** Type as an editor does: with its own origin. */
  type(id: string, at: number, text: string, deleted = 0): void {
    typeInto(this.cell(id).ysource, at, text, deleted);
  }

  /** Close the page. */
  dispose(): void {
    labs.delete(this);
    this.server.leave(this);
    this.binding.dispose();
    this.session.sync.fail(new Error('over') as never);
    this.notebook.dispose();
    this.file.dispose();
  }
}

let names = 0;
const labs = new Set<Lab>();
afterEach(() => labs.forEach(lab => lab.dispose()));

/** One editor of a text: what CodeMirror's binding does. */
export function typeInto(ytext: Y.Text, at: number, text: string, deleted = 0): void {
  const doc = ytext.doc as Y.Doc;
  doc.transact(() => {
    ytext.delete(at, deleted);
    ytext.insert(at, text);
    doc.getMap('state').set('dirty', true);
  }, EDITOR);
}

const EDITOR = { editor: true };

/** What waits in microtasks happens. */
export function moment(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve));
}

/** A notebook of code cells with these sources. */
export function notebookOf(sources: Record<string, string | Partial<Cell>>): NotebookDocument {
  const cells = Object.entries(sources).map(([id, cell]): [string, Cell] => [
    id,
    typeof cell === 'string' ? newCell('code', cell) : { ...newCell(), ...cell }
  ]);
  return { cells: Object.fromEntries(cells), order: cells.map(([id]) => id), metadata: {} };
}

/** A server with so many browsers that have opened the document. */
export async function open(
  document: Document,
  count = 2,
  options: NotebookOptions = {}
): Promise<Lab[]> {
  const server = new Server(document);
  const labs = Array.from({ length: count }, () => new Lab(server, options));
  await settle(labs);
  return labs;
}

/** Everything arrives; then all are equal. */
export async function settle(labs: readonly Lab[]): Promise<void> {
  await moment();
  for (const lab of labs) {
    if (!lab.online) {
      lab.connect();
    }
  }
  await moment();
  for (let busy = true; busy;) {
    busy = false;
    for (const lab of labs) {
      busy = (await lab.carry()) || busy;
    }
  }
  labs.forEach(check);
}

/** The view, the session and the server have one document, and nothing is unsaved. */
export function check(lab: Lab): void {
  const { server, session, notebook, file } = lab;
  assert.equal(session.unsaved, 0, 'all is acknowledged');
  assert.ok(equal(session.document, server.document), 'the copy is the document');
  if (!isNotebook(server.document)) {
    assert.equal(file.getSource(), (server.document as TextDocument).source);
    assert.equal(file.dirty, false);
    return;
  }
  assert.deepEqual(seen(notebook), expected(server.document));
  assert.equal(notebook.dirty, false, 'nothing is dirty');
}

/** What a shared model shows, without what is of this browser only. */
export function seen(notebook: YNotebook): Json {
  return plain({
    metadata: plainMetadata(Object.fromEntries(notebook.ymeta.get('metadata'))),
    cells: notebook.cells.map(cell => {
      const { ymodel } = cell;
      const code = cell.cell_type === 'code';
      return {
        ...{ id: cell.getId(), cell_type: cell.cell_type, source: cell.getSource() },
        metadata: plainMetadata(Object.fromEntries(ymodel.get('metadata'))),
        ...(code
          ? {
              outputs: (cell as YCodeCell).getOutputs().map(one => unfetched(one as Json)),
              execution_count: ymodel.get('execution_count') ?? null,
              state: (cell as YCodeCell).executionState
            }
          : { attachments: ymodel.get('attachments') ?? {} })
      };
    })
  });
}

function expected({ cells, order, metadata }: NotebookDocument): Json {
  return plain({
    metadata,
    cells: order.map(id => {
      const { cell_type, source, metadata, outputs, execution_count, attachments, execution } =
        cells[id] as Cell;
      const runs = ['queued', 'running'].includes(String(execution['state']));
      const rest =
        cell_type === 'code'
          ? { outputs: outputs.map(unfetched), execution_count, state: runs ? 'running' : 'idle' }
          : { attachments };
      return { id, cell_type, source, metadata, ...rest };
    })
  });
}

/** What a large output is without what may have been fetched. */
function unfetched(output: Json): Json {
  const { text: _text, ...rest } = output as Record<string, Json>;
  return 'blobs' in rest ? rest : output;
}

function plainMetadata(metadata: Record<string, unknown>): Record<string, unknown> {
  const { trusted: _trusted, ...rest } = metadata;
  return rest;
}

function plain(value: unknown): Json {
  return JSON.parse(JSON.stringify(value)) as Json;
}

/** An output of a stream. */
export function stream(text: string, name = 'stdout'): Json {
  return { output_type: 'stream', name, text };
}

/** An output with a plain text. */
export function display(text: string): Json {
  return { output_type: 'display_data', data: { 'text/plain': text }, metadata: {} };
}
