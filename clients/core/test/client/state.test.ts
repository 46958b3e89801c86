/** The state machine of one document, case by case. */

import assert from 'node:assert/strict';
import test from 'node:test';

import {
  type Change,
  ClientDocument,
  type ClientMessage,
  type Conflict,
  type Document,
  type NotebookDocument,
  Refused,
  type ServerMessage,
  newCell
} from '../../src/index.js';
import { type Follower, Sequencer } from './sequencer.js';

/** A client that is told at once, or later. */
class Client implements Follower {
  readonly conflicts: Conflict[] = [];
  readonly cancelled: string[] = [];
  readonly changes: string[] = [];
  readonly state: ClientDocument;
  waiting: ServerMessage[] = [];

  constructor(
    readonly server: Sequencer,
    name: string
  ) {
    this.state = new ClientDocument('a.ipynb', name, {
      conflict: conflict => this.conflicts.push(conflict),
      cancelled: (n, code) => this.cancelled.push(`${n} ${code}`),
      change: (_, origin) => this.changes.push(origin)
    });
    this.settle();
  }

  tell(message: ServerMessage): void {
    this.waiting.push(message);
  }

  /** Send what there is to send; nothing is heard. */
  send(): ClientMessage[] {
    const sent: ClientMessage[] = [];
    for (let message; (message = this.state.outgoing());) {
      sent.push(message);
      this.server.take(this, JSON.parse(JSON.stringify(message)) as ClientMessage);
    }
    return sent;
  }

  hear(): void {
    this.waiting.splice(0).forEach(message => this.state.receive(message));
  }

  settle(): void {
    do {
      this.send();
      this.hear();
    } while (this.waiting.length || this.state.mustOpen || this.state.next());
  }

  cut(): void {
    this.server.leave(this);
    this.waiting = [];
    this.state.disconnected();
  }

  text(cell = 'a'): string | undefined {
    return (this.state.document as NotebookDocument).cells[cell]?.source;
  }

  order(): string {
    return (this.state.document as NotebookDocument).order.join('');
  }
}

function notebook(sources: Record<string, string>): Document {
  const cells = Object.entries(sources).map(([id, source]) => [id, newCell('code', source)]);
  return { cells: Object.fromEntries(cells), order: Object.keys(sources), metadata: {} };
}

function world(): [Sequencer, Client, Client] {
  const server = new Sequencer(notebook({ a: 'alpha', b: 'beta', c: 'gamma' }));
  return [server, new Client(server, 'ann'), new Client(server, 'bob')];
}

function edit(...delta: (number | string)[]): Change {
  return [{ op: 'edit', path: '/cells/a/source', delta }];
}

function settle(...clients: Client[]): void {
  for (let round = 0; round < 3; round++) {
    clients.forEach(one => one.settle());
  }
  for (const { state, server } of clients) {
    assert.deepEqual(state.document, server.document);
    assert.deepEqual(state.pending, []);
  }
}

test('an edit is seen at once, and one change is in flight at a time', () => {
  const [, ann, bob] = world();
  ann.state.edit(edit(5, '1'));
  assert.equal(ann.text(), 'alpha1');
  assert.equal(ann.send().length, 1);
  ann.state.edit(edit(6, '2'));
  ann.state.edit(edit(7, '3'));
  assert.deepEqual(ann.send(), []);
  assert.equal(ann.state.pending.length, 2);
  settle(ann, bob);
  assert.equal(bob.text(), 'alpha123');
  assert.equal(bob.state.head.rev, 2);
});

test('two type at one place: two whole texts', () => {
  const [, ann, bob] = world();
  for (const [at, letter] of [...'😀n!'].entries()) {
    ann.state.edit(edit(5 + at, letter));
    bob.state.edit(edit(5 + at, letter.toUpperCase()));
  }
  settle(ann, bob);
  assert.equal(ann.text(), 'alpha😀N!😀n!');
});

test('what does not fit is refused, and changes nothing', () => {
  const [, ann] = world();
  const before = ann.state.document;
  assert.throws(() => ann.state.edit(edit(99, 'x')), Refused);
  assert.throws(() => ann.state.edit([{ op: 'remove', path: '/cells/no', index: 0 }]), Refused);
  assert.equal(ann.state.document, before);
  assert.equal(ann.state.outgoing(), null);
});

test('a change that arrived, but not its acknowledgement, is not doubled', () => {
  const [server, ann, bob] = world();
  ann.state.edit(edit(5, '!'));
  ann.send();
  ann.cut();
  ann.state.edit(edit(6, '?'));
  settle(ann, bob);
  assert.equal(bob.text(), 'alpha!?');
  assert.equal(server.rev, 2);
});

test('a change that was lost on the way is sent again under its number', () => {
  const [server, ann, bob] = world();
  ann.state.edit(edit(5, '!'));
  ann.state.outgoing();
  ann.cut();
  bob.state.edit(edit('>'));
  settle(bob, ann, bob);
  assert.equal(ann.text(), '>alpha!');
  assert.deepEqual(
    server.entries.map(one => [one.client, one.n]),
    [
      ['bob', 1],
      ['ann', 1]
    ]
  );
});

test('runs that were not sent are cancelled by the disconnect, edits stay', () => {
  const [, ann, bob] = world();
  ann.cut();
  ann.state.edit(edit(5, '!'));
  ann.state.edit([{ op: 'run', path: '/cells/a' }], { scope: null });
  ann.state.disconnected();
  assert.deepEqual(ann.cancelled, ['1 offline']);
  settle(ann, bob);
  assert.equal(bob.text(), 'alpha!');
});

test('text in a cell that somebody removes is kept as a conflict', () => {
  const [, ann, bob] = world();
  bob.state.edit([{ op: 'remove', path: '/cells/a', index: 0 }]);
  bob.settle();
  ann.state.edit(edit(5, ' more'));
  settle(ann, bob);
  assert.deepEqual(
    ann.conflicts.map(one => [one.id, one.cell.source]),
    [['a', 'alpha more']]
  );
  assert.equal(ann.order(), 'bc');
});

test('a log that lost its tail is made good by who has it', () => {
  const [server, ann, bob] = world();
  ann.state.edit(edit(5, '1'));
  settle(ann, bob);
  bob.state.edit(edit('2'));
  settle(ann, bob);
  server.loseTail(2);
  [ann, bob].forEach(one => one.cut());
  settle(bob, ann, bob);
  assert.equal(ann.text(), '2alpha1');
});

test('a log that is new is made good from the file and from us', () => {
  const [server, ann, bob] = world();
  ann.state.edit(edit(5, ' saved'));
  settle(ann, bob);
  ann.state.edit([{ op: 'move', path: '/cells/c', index: 2, to: 0 }]);
  ann.state.edit(edit(11, ' not saved'));
  settle(ann, bob);
  server.lose(1);
  [ann, bob].forEach(one => one.cut());
  ann.state.edit(edit(21, ' offline'));
  settle(ann, bob);
  assert.equal(bob.text(), 'alpha saved not saved offline');
  assert.equal(bob.order(), 'cab');
  assert.deepEqual([...ann.conflicts, ...bob.conflicts], []);
});

test('who comes back after the window was moved on goes over the difference', () => {
  const [server, ann, bob] = world();
  ann.cut();
  ann.state.edit(edit(5, '!'));
  for (let number = 0; number < 5; number++) {
    bob.state.edit(edit('>'));
    bob.settle();
  }
  server.trim(4);
  settle(ann, bob);
  assert.equal(ann.text(), '>>>>>alpha!');
  assert.ok(ann.changes.includes('remote'));
});

test('what the server refuses is taken back', () => {
  const [server, ann, bob] = world();
  ann.state.edit(edit(5, '!'));
  ann.state.pending[0]!.ops = [{ op: 'remove', path: '/cells/zz', index: 0 }]; // a bug of ours
  ann.send();
  assert.equal(server.refusals.length, 1);
  ann.state.edit(edit(6, '?'));
  ann.state.pending[0]!.ops = edit(5, '!');
  settle(ann, bob);
  assert.equal(bob.text(), 'alpha?');
});

test('who may only read keeps what he typed before, and follows', () => {
  const [server, ann, bob] = world();
  server.write = false;
  ann.state.edit(edit(5, '!'));
  ann.settle();
  assert.equal(ann.state.readOnly, true);
  assert.equal(ann.state.pending.length, 1);
  server.enter('file:', edit('>'));
  ann.settle();
  bob.settle();
  assert.equal(ann.text(), '>alpha!');
  assert.equal(bob.text(), '>alpha');
});

test('what was kept is gone on with, under the same numbers', () => {
  const [server, ann, bob] = world();
  ann.state.edit(edit(5, '!'));
  ann.send(); // it arrives, and nobody hears the answer
  ann.state.edit(edit(6, '?'));
  const kept = JSON.parse(JSON.stringify(ann.state.keep())) as ReturnType<typeof ann.state.keep>;
  ann.cut();
  bob.state.edit(edit('>'));
  bob.settle();
  const again = new Client(server, 'carl'); // another page...
  const page = new ClientDocument('a.ipynb', 'ann');
  page.restore(kept);
  assert.equal((page.document as NotebookDocument).cells.a?.source, 'alpha!?');
  Object.assign(again, { state: page }); // ...that adopts the record
  server.leave(again);
  settle(again, bob);
  assert.equal(bob.text(), '>alpha!?');
});

// Undo.

test('undo takes one’s own back, whatever others did', () => {
  const [, ann, bob] = world();
  ann.state.edit(edit(5, '1'));
  settle(ann, bob);
  bob.state.edit(edit('>'));
  settle(ann, bob);
  ann.state.edit(edit(7, '2'));
  assert.ok(ann.state.undo());
  assert.ok(ann.state.undo());
  assert.ok(!ann.state.undo());
  assert.equal(ann.text(), '>alpha');
  assert.ok(ann.state.redo());
  settle(ann, bob);
  assert.equal(bob.text(), '>alpha1');
  assert.deepEqual(ann.changes, ['local', 'remote', 'local', 'undo', 'undo', 'undo']);
});

test('each scope has its own undo, and follows what the others do', () => {
  const [, ann] = world();
  ann.state.edit(edit(5, '1'), { scope: 'a' });
  ann.state.edit([{ op: 'move', path: '/cells/a', index: 0, to: 2 }]);
  ann.state.edit(edit('0'), { scope: 'other' });
  assert.ok(ann.state.undo('a'));
  assert.equal(ann.text(), '0alpha');
  assert.equal(ann.order(), 'bca');
  assert.ok(ann.state.undo());
  assert.equal(ann.order(), 'abc');
  assert.ok(ann.state.redo('a'));
  assert.ok(ann.state.redo());
  assert.equal(ann.text(), '0alpha1');
  assert.equal(ann.order(), 'bca');
  assert.ok(!ann.state.undo('nobody'));
});

test('what is merged is one step; what is done in no scope is none', () => {
  const [, ann] = world();
  ann.state.edit(edit(5, '1'), { merge: true });
  ann.state.edit(edit(6, '2'), { merge: true });
  ann.state.edit(edit('x'), { scope: null });
  ann.state.edit(edit(8, '3'));
  assert.ok(ann.state.undo());
  assert.equal(ann.text(), 'xalpha12');
  ann.state.edit(edit(8, '4'), { merge: true }); // no neighbour of what is on top now
  assert.ok(ann.state.undo());
  assert.equal(ann.text(), 'xalpha12');
  assert.ok(ann.state.undo());
  assert.equal(ann.text(), 'xalpha');
  assert.ok(ann.state.redo());
  ann.state.edit(edit(8, '!'), { merge: true });
  assert.ok(!ann.state.redo());
  assert.equal(ann.text(), 'xalpha12!');
});

test('undo of an own removal brings back what others wrote meanwhile', () => {
  const [, ann, bob] = world();
  bob.state.edit(edit(5, ' theirs'));
  bob.settle();
  ann.state.edit([{ op: 'remove', path: '/cells/a', index: 0 }]);
  settle(ann, bob);
  assert.equal(ann.order(), 'bc');
  assert.ok(ann.state.undo());
  settle(ann, bob);
  assert.equal(bob.text(), 'alpha theirs');
});

test('a cell that was removed and brought back before it was sent is not touched', () => {
  const [, ann, bob] = world();
  ann.cut();
  ann.state.edit([{ op: 'remove', path: '/cells/a', index: 0 }]);
  ann.state.undo();
  bob.state.edit(edit(5, ' theirs'));
  bob.settle();
  settle(ann, bob);
  assert.equal(ann.text(), 'alpha theirs');
});
