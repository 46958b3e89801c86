/**
 * Several clients, one sequencer, and a network that delays, cuts and forgets; now and then a page
 * is loaded again, the store of the server loses its tail or is lost. Driven by one seed.
 *
 * Every insert is one character beyond 16 bits that is used once, a *mark*, so that "nothing lost, nothing doubled"
 * can be counted. `OT_SEED=17` plays one run again, `OT_RUNS=2000` more of them.
 */

import assert from 'node:assert/strict';
import test from 'node:test';

import {
  type Change,
  ClientDocument,
  type ClientMessage,
  type Document,
  type NotebookDocument,
  type Origin,
  Refused,
  type ServerMessage,
  type Store,
  apply,
  equal,
  isNotebook,
  memoryStore,
  newCell,
  pointLength
} from '../../src/index.js';
import { type Keeper, findRecord, randomId } from '../../src/client/keeper.js';
import { Chance } from './random.js';
import { type Follower, Sequencer } from './sequencer.js';

interface World {
  /** Probabilities per step. */
  cut: number;
  reload: number;
  trim: number;
  loseTail: number;
  lose: number;
}

const WORLDS: Record<string, World> = {
  calm: { cut: 0, reload: 0, trim: 0, loseTail: 0, lose: 0 },
  'a bad line': { cut: 0.03, reload: 0, trim: 0.01, loseTail: 0, lose: 0 },
  'pages that are loaded again': { cut: 0.02, reload: 0.02, trim: 0.005, loseTail: 0, lose: 0 },
  'a store that loses its tail': { cut: 0.02, reload: 0, trim: 0, loseTail: 0.01, lose: 0 },
  'a store that is lost': { cut: 0.02, reload: 0, trim: 0, loseTail: 0, lose: 0.006 },
  'a store that is lost, and pages that are loaded again': {
    ...{ cut: 0.02, reload: 0.01, trim: 0, loseTail: 0, lose: 0.006 }
  }
};
const STEPS = 200;
const FIRST_MARK = 0xf0000; // a private plane: one code point each, two UTF-16 units
const EMPTY: Document = { source: '' };
const KEPT = ['k0', 'k1']; // cells that nobody removes, nor text from them but by undo

/** One tab: a client on a line that may be cut, and its page's store. */
class Tab implements Follower {
  state!: ClientDocument;
  toServer: string[] = [];
  toClient: string[] = [];
  online = false;
  private keeper!: Keeper;
  private line: Follower = { tell: () => {} };

  constructor(
    readonly run: Run,
    private readonly store: Store
  ) {}

  /** The page is loaded: go on with what the last one left. */
  async load(): Promise<void> {
    await this.keeper?.close();
    const { kept, keeper } = await findRecord(this.store, 'a.ipynb', null, randomId());
    this.keeper = keeper;
    const { run } = this;
    let seen = EMPTY;
    const events = {
      change: (ops: Change, origin: Origin) => {
        run.changed(this, seen, ops, this.state.document, origin);
        seen = this.state.document;
      },
      begun: () => (seen = this.state.document),
      whole: () => (seen = seen === EMPTY ? this.state.document : seen)
    };
    this.state = new ClientDocument('a.ipynb', keeper.client, events);
    if (kept) {
      this.state.restore(kept);
    }
    this.cut();
  }

  cut(): void {
    this.run.server.leave(this.line);
    this.line = { tell: () => {} };
    this.toServer = [];
    this.toClient = [];
    if (this.online) {
      this.online = false;
      this.state.disconnected();
    }
  }

  connect(): void {
    this.online = true;
    // What was on its way on an earlier line never arrives on this one.
    const line = { tell: (message: ServerMessage) => this.tell(message, line) };
    this.line = line;
  }

  tell(message: ServerMessage, line: Follower = this.line): void {
    if (line === this.line) {
      this.toClient.push(JSON.stringify(message));
    }
  }

  async send(): Promise<void> {
    for (;;) {
      const next = this.state.mustOpen ? null : this.state.next();
      if (next) {
        next.sent = true;
        await this.keep();
      }
      const message = this.state.outgoing();
      if (!message) {
        return;
      }
      this.toServer.push(JSON.stringify(message));
    }
  }

  async keep(): Promise<void> {
    if (this.state.begun) {
      await this.keeper.write(() => this.state.keep());
    }
  }

  serve(): void {
    const text = this.toServer.shift();
    if (text !== undefined) {
      this.run.server.take(this.line, JSON.parse(text) as ClientMessage);
    }
  }

  hear(): void {
    const text = this.toClient.shift();
    if (text !== undefined) {
      this.state.receive(JSON.parse(text) as ServerMessage);
    }
  }

  get atRest(): boolean {
    const { toServer, toClient, state } = this;
    return state.live && !(toServer.length || toClient.length || state.pending.length);
  }
}

class Run {
  readonly chance: Chance;
  readonly server: Sequencer;
  readonly tabs: Tab[] = [];
  private marks = FIRST_MARK;
  /** Marks in kept cells, as far as their author did not undo them. */
  private readonly typed = new Set<string>();
  private readonly authors = new Map<string, Tab>();
  private lost = 0;

  constructor(
    readonly world: World,
    seed: number
  ) {
    this.chance = new Chance(seed);
    const ids = [...KEPT, 'f0', 'f1'];
    const cells = Object.fromEntries(ids.map(id => [id, newCell('code', 'héé\u{1f600}')]));
    this.server = new Sequencer({ cells, order: ids, metadata: {} });
  }

  async play(): Promise<void> {
    for (let index = 0; index < 3; index++) {
      this.tabs.push(new Tab(this, memoryStore()));
      await this.tabs[index]!.load();
    }
    for (let step = 0; step < STEPS; step++) {
      await this.step();
    }
    await this.settle();
    this.check();
  }

  private async step(): Promise<void> {
    const { chance, world } = this;
    const tab = chance.of(this.tabs);
    if (!tab.online && chance.happens(0.3)) {
      tab.connect();
    } else if (chance.happens(world.cut)) {
      tab.cut();
    } else if (chance.happens(world.reload)) {
      tab.cut();
      await tab.load();
    } else if (chance.happens(world.trim)) {
      this.server.trim(this.server.rev - chance.below(10));
    } else if (chance.happens(world.loseTail)) {
      this.tabs.forEach(one => one.cut());
      this.server.loseTail(chance.below(5));
    } else if (this.lost === 0 && chance.happens(world.lose)) {
      this.lost++;
      this.tabs.forEach(one => one.cut());
      this.server.lose(chance.below(this.server.rev + 1));
    }
    if (tab.state.begun && chance.happens(0.5)) {
      this.edit(tab);
      await tab.keep();
    }
    await this.carry(tab, 1 + chance.below(3));
  }

  private async carry(tab: Tab, times: number): Promise<void> {
    for (let time = 0; tab.online && time < times; time++) {
      await tab.send();
      tab.serve();
      tab.hear();
    }
  }

  private edit(tab: Tab): void {
    const { chance } = this;
    const scope = chance.of(['', ...KEPT]);
    const dice = chance.next();
    try {
      if (dice < 0.12) {
        tab.state.undo(scope);
      } else if (dice < 0.18) {
        tab.state.redo(scope);
      } else {
        const [ops, of] = this.change(tab.state.document as NotebookDocument);
        tab.state.edit(ops, { scope: of, merge: chance.happens(0.4) });
      }
    } catch (error) {
      assert.ok(error instanceof Refused, String(error)); // a move to its own place, say
    }
  }

  /** A change and its scope. */
  private change(document: NotebookDocument): [Change, string | null] {
    const { chance } = this;
    const { order, cells } = document;
    const id = chance.of(order);
    const index = order.indexOf(id);
    const path = `/cells/${id}`;
    const length = pointLength(cells[id]!.source);
    const free = !KEPT.includes(id);
    const dice = chance.next();
    if (dice < 0.06 && free && order.length > 3) {
      return [[{ op: 'remove', path, index }], ''];
    }
    if (dice < 0.14) {
      const to = chance.below(order.length);
      return [to === index ? [] : [{ op: 'move', path, index, to }], ''];
    }
    if (dice < 0.2) {
      const cell = `n${this.marks++}`;
      const value = newCell('markdown', this.mark());
      return [
        [{ op: 'add', path: `/cells/${cell}`, index: chance.below(order.length + 1), value }],
        ''
      ];
    }
    if (dice < 0.26) {
      const value = chance.of(['code', 'markdown', 'raw']);
      return [[{ op: 'replace', path: `${path}/cell_type`, value }], ''];
    }
    if (dice < 0.3) {
      return [[{ op: 'replace', path: `${path}/metadata/__proto__`, value: chance.below(9) }], ''];
    }
    const source = `${path}/source`;
    if (dice < 0.4 && free && length) {
      const at = chance.below(length);
      const count = 1 + chance.below(Math.min(4, length - at));
      return [[{ op: 'edit', path: source, delta: at ? [at, -count] : [-count] }], id];
    }
    const at = chance.below(length + 1);
    const text = this.mark();
    const scope = chance.happens(0.1) ? null : id;
    return [[{ op: 'edit', path: source, delta: at ? [at, text] : [text] }], scope];
  }

  private mark(): string {
    return String.fromCodePoint(this.marks++);
  }

  /** A tab's document was changed, by these operations. */
  changed(tab: Tab, before: Document, ops: Change, after: Document, origin: Origin): void {
    assert.ok(equal(apply(before, ops), after), 'a change tells what happened');
    if (origin !== 'remote') {
      const [had, has] = [marksIn(before), marksIn(after)];
      had.filter(mark => !has.includes(mark)).forEach(mark => this.undone(tab, mark));
      has.filter(mark => !had.includes(mark)).forEach(mark => this.written(tab, mark));
    }
  }

  private written(tab: Tab, mark: string): void {
    assert.ok((this.authors.get(mark) ?? tab) === tab, `redo writes ${name(mark)} of another`);
    this.authors.set(mark, tab);
    this.typed.add(mark);
  }

  private undone(tab: Tab, mark: string): void {
    assert.ok(this.authors.get(mark) === tab, `undo takes ${name(mark)} of another`);
    this.typed.delete(mark);
  }

  private async settle(): Promise<void> {
    for (let round = 0; round < 400; round++) {
      for (const tab of this.tabs) {
        if (!tab.online) {
          tab.connect();
        }
        await this.carry(tab, 2);
      }
      if (this.tabs.every(tab => tab.atRest)) {
        return;
      }
    }
    assert.fail('the world does not come to rest');
  }

  private check(): void {
    for (const { state } of this.tabs) {
      assert.ok(equal(state.document, state.confirmed), 'nothing is pending');
      assert.ok(this.server.isSame(state.document), 'all copies are equal');
      assert.equal(state.head.hash, this.server.hash);
    }
    assert.deepEqual(this.server.refusals, [], 'no change of a client is refused');
    const marks = marksIn(this.server.document);
    const lost = [...this.typed].filter(mark => !marks.includes(mark));
    assert.deepEqual(lost.map(name), [], 'nothing is lost');
    assert.equal(new Set(marks).size, marks.length, 'nothing is doubled');
    if (!this.world.lose && !this.world.loseTail) {
      // A log that forgets may forget that something was taken back.
      assert.equal(marks.length, this.typed.size, 'what was undone is gone');
    }
  }
}

/** The marks in the cells that nobody removes. */
function marksIn(document: Document): string[] {
  const cells = isNotebook(document) ? document.cells : {};
  const texts = KEPT.map(id => cells[id]?.source ?? '');
  return [...texts.join('')].filter(one => (one.codePointAt(0) ?? 0) >= FIRST_MARK);
}

function name(mark: string): string {
  return mark.codePointAt(0)?.toString(16) ?? '';
}

const runs = Number(process.env.OT_RUNS ?? 60); // of each world
const only = process.env.OT_SEED === undefined ? null : Number(process.env.OT_SEED);

for (const [title, world] of Object.entries(WORLDS)) {
  test(`all are equal in the end: ${title}`, async () => {
    const seeds = only === null ? Array.from({ length: runs }, (_, seed) => seed) : [only];
    for (const seed of seeds) {
      try {
        await new Run(world, seed).play();
      } catch (error) {
        throw new Error(`OT_SEED=${seed}`, { cause: error });
      }
    }
  });
}
