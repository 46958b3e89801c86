/** Sessions and connections, with a sequencer in the same process and real clocks. */

import assert from 'node:assert/strict';
import test from 'node:test';

import {
  type Change,
  Connection,
  type ConnectionOptions,
  type Document,
  DocumentError,
  type NotebookDocument,
  type Release,
  type Session,
  type SessionEvent,
  type Store,
  claimAmongTabs,
  invert,
  memoryStore,
  newCell
} from '../../src/index.js';
import { findRecord } from '../../src/client/keeper.js';
import type { Kept, Recent } from '../../src/client/parts.js';
import { Network } from './line.js';
import { Sequencer } from './sequencer.js';

console.info = console.warn = console.error = () => {}; // faults are what is played here

function notebook(): Document {
  return { cells: { a: newCell('code', 'alpha') }, order: ['a'], metadata: {} };
}

class World {
  readonly server = new Sequencer(notebook());
  readonly other = new Sequencer({ source: 'text' }, 'b.md');
  readonly network = new Network([this.server, this.other]);
  readonly connections: Connection[] = [];

  connect(options: Partial<ConnectionOptions> = {}): Connection {
    const { dial } = this.network;
    const connection = new Connection({ url: 'ws://nowhere', webSocket: dial, ...options });
    this.connections.push(connection);
    return connection;
  }

  async open(options: Partial<ConnectionOptions> = {}): Promise<Session> {
    const session = this.connect(options).open('a.ipynb');
    await session.ready;
    return session;
  }
}

function played(title: string, play: (world: World) => Promise<void>): void {
  test(title, async () => {
    const world = new World();
    try {
      await play(world);
    } finally {
      world.connections.forEach(one => one.dispose());
    }
  });
}

function until(session: Session, condition: () => boolean): Promise<void> {
  return new Promise(resolve => {
    const look = () => {
      if (condition()) {
        end();
        resolve();
      }
    };
    const end = session.subscribe(look);
    look();
  });
}

function text({ document }: { document: Document }): string | undefined {
  return (document as NotebookDocument).cells.a?.source;
}

function insert(at: number, letters: string): Change {
  return [{ op: 'edit', path: '/cells/a/source', delta: at ? [at, letters] : [letters] }];
}

const live = (session: Session) => until(session, () => session.status === 'live');
const offline = (session: Session) => until(session, () => session.status === 'offline');

played('what happens is told, in its order', async world => {
  const events: string[] = [];
  const connection = world.connect();
  const session = connection.open('a.ipynb');
  assert.equal(session.status, 'opening');
  assert.throws(() => session.edit(insert(0, '!')), DocumentError);
  const note = (event: SessionEvent) =>
    events.push(event.type === 'change' ? `${event.type} ${event.origin}` : event.type);
  session.subscribe(note);
  await session.ready;
  await live(session);
  session.edit(insert(5, '1'), { scope: 'a' });
  assert.equal(session.status, 'saving');
  await session.acknowledged();
  assert.equal(session.status, 'live');
  assert.ok(session.canUndo('a') && !session.canUndo() && !session.canRedo('a'));
  session.undo('a');
  world.server.enter('file:', insert(0, '>'));
  await until(session, () => session.rev === 3 || (session.rev === 2 && !session.unsaved));
  await session.acknowledged();
  await until(session, () => text(session) === '>alpha');
  assert.deepEqual(events.filter(one => one !== 'status' && one !== 'presence').slice(0, 2), [
    'reset',
    'change local'
  ]);
  assert.ok(events.includes('change undo') && events.includes('change remote'));
  assert.equal(text(world.server), '>alpha');
  connection.dispose();
  assert.equal(session.status, 'failed');
});

played('what is typed while the line is away arrives, once', async world => {
  const session = await world.open();
  for (let round = 0; round < 3; round++) {
    session.edit(insert(5 + round * 2, 'a'));
    await Promise.resolve();
    world.network.open = false;
    world.network.cut();
    await offline(session);
    session.edit(insert(6 + round * 2, 'b'));
    assert.throws(() => session.run(['a']), /offline|no connection/);
    world.network.open = true;
    await live(session);
  }
  assert.equal(text(world.server), 'alphaababab');
});

played('a line that says nothing any more is given up', async world => {
  const session = await world.open({ patience: 20 });
  world.network.silent = true;
  session.edit(insert(5, '!'));
  await until(session, () => !session.live);
  world.network.silent = false;
  await live(session);
  assert.equal(text(world.server), 'alpha!');
});

played('a line that is silent is asked for a sign of life', async world => {
  const session = await world.open({ patience: 20 });
  const [connection] = world.connections;
  connection?.probe();
  await new Promise(resolve => setTimeout(resolve, 60));
  assert.equal(world.network.sockets.length, 1);
  world.network.silent = true;
  connection?.probe();
  await until(session, () => !session.live);
  world.network.silent = false;
  await live(session);
});

played('what the server says and does not fit is not guessed from', async world => {
  const session = await world.open();
  session.edit(insert(5, '!'));
  await session.acknowledged();
  const { epoch, doc, rev, hash } = world.server;
  const ops: Change = [{ op: 'remove', path: '/cells/zz', index: 7 }];
  const entry = { rev: rev + 1, client: 'x', n: 1, hash: 'h', ops };
  const frame = { epoch, doc, from: rev + 1, prev: hash, entries: [entry] };
  world.network.sockets[0]?.tell({ type: 'entries', ...frame });
  await until(session, () => session.problem?.code === 'out_of_step');
  session.edit(insert(6, '?'));
  await live(session);
  assert.equal(session.problem, null);
  assert.equal(text(world.server), 'alpha!?');
});

played('what is in flight is kept before it is sent', async world => {
  const store = memoryStore();
  const kept: string[] = [];
  world.network.before = async message => {
    if (message.type === 'submit') {
      const [key] = await store.keys('tail:');
      const tail = JSON.parse((await store.get(key ?? '')) ?? '{}') as Kept;
      kept.push(`${message.n as number} ${tail.pending.map(one => `${one.n} ${one.sent}`).join()}`);
    }
  };
  const session = await world.open({ store });
  session.edit(insert(5, '1'));
  await session.acknowledged();
  session.edit(insert(6, '2'));
  await session.acknowledged();
  assert.deepEqual(kept, ['1 1 true', '2 2 true']);
});

/** The tab is gone without a word: its locks are free, nothing more is written. */
function tabs(store: Store): { store: Store; crash: () => void } {
  const releases: Release[] = [];
  let gone = false;
  const claim = async (name: string) => {
    const release = await store.claim(name);
    if (release) {
      releases.push(release);
    }
    return release;
  };
  const set = (changes: Record<string, string | null>) =>
    gone ? new Promise<void>(() => {}) : store.set(changes);
  const crash = () => {
    gone = true;
    releases.forEach(one => void one());
  };
  return { store: { ...store, claim, set }, crash };
}

played('a page that is loaded again goes on, another tab is another client', async world => {
  const shared = memoryStore();
  const first = tabs(shared);
  const session = await world.open({ store: first.store });
  world.network.open = false;
  world.network.cut();
  await offline(session);
  session.edit(insert(5, ' 🙂'));
  await new Promise(resolve => setTimeout(resolve, 5));
  first.crash();
  const again = await world.open({ store: shared });
  assert.equal(again.client, session.client);
  assert.equal(text(again), 'alpha 🙂');
  assert.equal(again.unsaved, 1);
  const another = world.connect({ store: shared }).open('a.ipynb');
  world.network.open = true;
  await Promise.all([live(again), another.ready]);
  assert.notEqual(another.client, again.client);
  await until(another, () => text(another) === 'alpha 🙂');
  assert.equal(text(world.server), 'alpha 🙂');
});

played('who leaves before he came leaves what was there', async world => {
  const store = memoryStore();
  const left = await leftBehind(world, store);
  world.network.open = false;
  world.connect({ store }).open('a.ipynb').dispose();
  await new Promise(resolve => setTimeout(resolve, 5));
  assert.deepEqual(await texts(store), left);
  const again = world.connect({ store }).open('a.ipynb');
  await again.ready;
  assert.equal(text(again), 'alpha!');
});

played('what does not fit together is left where it is', async world => {
  const store = memoryStore();
  const left = await leftBehind(world, store);
  const [key, tail] = left.find(([name]) => name.startsWith('tail:')) ?? ['', ''];
  const broken = tail.replace('[5,"!"]', '[99,"!"]');
  assert.notEqual(broken, tail);
  await store.set({ [key]: broken });
  const session = await world.open({ store });
  assert.equal(text(session), 'alpha');
  assert.equal(await store.get(key), broken);
  session.edit(insert(5, '?'));
  await session.acknowledged();
  assert.equal(text(world.server), 'alpha?');
});

/** A page with something pending was here, and is gone. What is in the store. */
async function leftBehind(world: World, store: Store): Promise<[string, string][]> {
  const first = tabs(store);
  world.network.open = true;
  const session = await world.open({ store: first.store });
  world.network.open = false;
  world.network.cut();
  await offline(session);
  session.edit(insert(5, '!'));
  await new Promise(resolve => setTimeout(resolve, 5));
  first.crash();
  world.connections.splice(0).forEach(one => one.dispose());
  world.network.open = true;
  return texts(store);
}

async function texts(store: Store): Promise<[string, string][]> {
  const keys = await store.keys('');
  return Promise.all(keys.map(async key => [key, (await store.get(key)) ?? '']));
}

played('who leaves in order leaves no record', async world => {
  const store = memoryStore();
  const session = await world.open({ store });
  session.edit(insert(5, '!'));
  await session.acknowledged();
  session.dispose();
  while ((await store.keys('')).length) {
    await new Promise(resolve => setTimeout(resolve, 1));
  }
  assert.ok(session.closed);
});

played('who leaves with something on its way is waited for', async world => {
  const session = await world.open();
  session.edit(insert(5, '!'));
  session.dispose();
  while (!session.closed) {
    await new Promise(resolve => setTimeout(resolve, 1));
  }
  assert.equal(text(world.server), 'alpha!');
});

played('a store that fails stops nobody', async world => {
  const broken: Store = {
    ...memoryStore(),
    set: () => Promise.reject(new Error('the disk is full'))
  };
  const session = await world.open({ store: broken });
  session.edit(insert(5, '!'));
  await session.acknowledged();
  assert.equal(text(world.server), 'alpha!');
});

played('one connection, many documents, each opened once', async world => {
  const connection = world.connect();
  const [one, two, three] = ['a.ipynb', '/./a.ipynb', 'b.md'].map(path => connection.open(path));
  await Promise.all([one!.ready, three!.ready]);
  assert.equal(one, two);
  assert.throws(() => connection.open('a.ipynb', { kind: 'text' }), /open as notebook/);
  one!.dispose();
  assert.ok(!one!.closed);
  two!.dispose();
  assert.ok(one!.closed && !three!.closed);
  const none = connection.open('none.ipynb');
  await assert.rejects(none.ready, { code: 'not_found' });
  assert.equal(none.status, 'failed');
  assert.equal(three!.status, 'live');
});

played('presence is told once for many moves, and follows the text', async world => {
  const ann = await world.open({ client: 'ann' });
  const bob = await world.open({ client: 'bob' });
  for (let at = 0; at < 5; at++) {
    ann.setPresence({ cell: 'a', anchor: at, head: at });
    await new Promise(resolve => setTimeout(resolve, 1));
  }
  await until(bob, () => bob.others.get('ann')?.head === 4);
  const told = world.network.heard.filter(one => one.type === 'presence');
  assert.equal(told.length, 2);
  bob.edit(insert(0, '🙂'));
  assert.equal(bob.others.get('ann')?.head, 5);
  ann.setPresence(null);
  await until(bob, () => !bob.others.has('ann'));
});

played('a document is saved with all that was typed before', async world => {
  const session = await world.open();
  session.edit(insert(5, '!'));
  await session.save();
  assert.equal(session.unsaved, 0);
});

played('a connection that closes tells who waits', async world => {
  const session = await world.open();
  world.network.silent = true;
  session.edit(insert(5, '!'));
  const waiting = [session.save(), session.acknowledged(), session.kernel('start')];
  world.connections[0]?.dispose();
  for (const one of waiting) {
    await assert.rejects(one, { code: 'closed' });
  }
});

test('one tab holds a name', async () => {
  const release = await claimAmongTabs('one');
  assert.ok(release);
  assert.equal(await claimAmongTabs('one'), null);
  await release();
  const again = await claimAmongTabs('one');
  assert.ok(again);
  await again();
});

test('of two who ask for a name at once, one gets it', async () => {
  const both = await Promise.all([claimAmongTabs('both'), claimAmongTabs('both')]);
  assert.equal(both.filter(Boolean).length, 1);
  await Promise.all(both.map(release => release?.()));
});

test('a long log is kept as a base and a tail', async () => {
  const store = memoryStore();
  const { keeper } = await findRecord(store, 'a.ipynb', null, 'ann');
  let confirmed: Document = { source: '' };
  const recent: Recent[] = [];
  const bases = new Set<string | null>();
  for (let rev = 0; rev < 700; rev++) {
    const ops: Change = [
      { op: 'edit', path: '/source', delta: ['x'.repeat(rev === 500 ? 400_000 : 1)] }
    ];
    const inverse = invert(confirmed, ops);
    recent.push({ before: { rev, hash: `h${rev}` }, n: 0, ops, inverse });
    confirmed = { source: (ops[0] as { delta: string[] }).delta[0] + confirmed.source };
    const head = { rev: rev + 1, hash: `h${rev + 1}` };
    const path = rev < 600 ? 'a.ipynb' : 'b.ipynb'; // it was renamed
    const rest = { client: 'ann', kind: null, doc: 'd', nextN: 1, serverN: 0, readOnly: false };
    const kept = { ...rest, path, epoch: 'e', head, confirmed, recent: recent.slice(-500) };
    await keeper.write(() => ({ ...kept, pending: [] }));
    bases.add(await store.get(`base:ann:${path}`));
  }
  assert.ok(bases.size > 3 && bases.size < 12, `${bases.size} bases`);
  assert.equal((await store.keys('')).length, 2);
  assert.equal((await findRecord(store, 'b.ipynb', null, 'bob')).kept, null); // it is held
  await keeper.close();
  const { kept } = await findRecord(store, 'b.ipynb', null, 'bob');
  assert.deepEqual(kept?.confirmed, confirmed);
  assert.deepEqual(kept?.head, { rev: 700, hash: 'h700' });
});
