/**
 * A connection to a Jupyter server: one WebSocket for many documents, kept up for ever.
 *
 * When it breaks it is made again, after pauses that grow, and each document goes on where it was.
 */

import { DocumentError } from './errors.js';
import { Listeners } from './listeners.js';
import type { ClientMessage, Kind, ServerMessage } from './messages.js';
import { Session } from './session.js';
import type { Store } from './store.js';
import type { Link } from './sync.js';
import { Timer, pause } from './timing.js';

const PATIENCE_MS = 10_000;
const SILENCE_MS = 30_000; // after that the server is asked whether it is there
const TOO_BIG = 1009; // the close code of who was sent a message beyond his limit

/**
 * What is used of a WebSocket: that of browsers and of node, and what looks like it. The events are
 * those of the DOM: `onmessage` gets `{ data }`, a text; `onclose` gets `{ code }`.
 */
export interface WebSocketLike {
  send(text: string): void;
  close(): void;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
}

/** How a connection is made. */
export interface ConnectionOptions {
  /** `ws(s)://…/api/ot/socket?token=…`; a function is asked before each attempt. */
  url: string | (() => string);
  /** Default: the global `WebSocket`. */
  webSocket?: (url: string) => WebSocketLike;
  /** Where to keep what must survive a reload of the page. Default: nothing is kept. */
  store?: Store;
  /** The id of this tab's client, `[A-Za-z0-9_-]{1,64}`. Default: a random one per document. */
  client?: string;
  /** Milliseconds to wait for an answer before the connection is taken to be broken. */
  patience?: number;
}

/** See the module. It connects at once, and again whenever it must, until it is disposed of. */
export class Connection implements Link {
  readonly patience: number;
  /** Called when `online` has changed. */
  readonly changed = new Listeners<void>();
  private readonly sessions = new Set<Session>();
  private readonly silence = new Timer();
  private readonly redial = new Timer();
  private socket: WebSocketLike | null = null;
  private connected = false;
  private disposed = false;
  private fruitful = false; // the server said something on this socket
  private attempt = 0;

  constructor(private readonly options: ConnectionOptions) {
    this.patience = options.patience ?? PATIENCE_MS;
    globalThis.addEventListener?.('online', this.onOnline);
    globalThis.addEventListener?.('offline', this.onOffline);
    this.dial();
  }

  /** Whether there is a connection now. */
  get online(): boolean {
    return this.connected;
  }

  /**
   * The document at a path below the server's root; the same session each time while it is open,
   * to be disposed of as often. At once: wait for `session.ready`. Throws `DocumentError`
   * (`wrong_kind`) if it is open as the other kind.
   */
  open(path: string, { kind }: { kind?: Kind } = {}): Session {
    path = path
      .split('/')
      .filter(part => part !== '' && part !== '.')
      .join('/');
    const known = [...this.sessions].find(one => one.path === path && !one.closed);
    if (known && kind && known.kind && known.kind !== kind) {
      throw new DocumentError('wrong_kind', `'${path}' is open as ${known.kind}`, '/kind');
    }
    if (known) {
      return known.share();
    }
    const { client, store } = this.options;
    const ended = (session: Session) => void this.sessions.delete(session);
    const session = new Session(this, path, { kind, client, store }, ended);
    this.sessions.add(session);
    return session;
  }

  /** Drop the connection, if there is one, and make a new one now. */
  reconnect(reason = ''): void {
    if (!this.disposed) {
      console.info(`ot-jupyter: connecting again: ${reason}`);
      this.lose();
      this.attempt = 0;
      this.dial();
    }
  }

  /** Close all documents and the connection. What is not acknowledged stays in the store. */
  dispose(): void {
    if (this.disposed) {
      return;
    }
    this.disposed = true;
    globalThis.removeEventListener?.('online', this.onOnline);
    globalThis.removeEventListener?.('offline', this.onOffline);
    const error = new DocumentError('closed', 'the connection is closed');
    this.sessions.forEach(one => one.sync.fail(error));
    this.sessions.clear();
    this.lose();
    this.redial.stop();
    this.changed.clear();
  }

  /** For the documents: send a message; it is lost if there is no connection. */
  send(message: ClientMessage): void {
    if (this.connected) {
      this.socket?.send(JSON.stringify(message));
    }
  }

  // The socket.

  private dial(): void {
    this.redial.stop();
    const { url, webSocket = newWebSocket } = this.options;
    let socket: WebSocketLike;
    try {
      socket = webSocket(typeof url === 'string' ? url : url());
    } catch (error) {
      console.error('ot-jupyter: no connection can be made', error);
      this.dialLater();
      return;
    }
    this.socket = socket;
    this.fruitful = false;
    this.silence.start(this.patience, () => this.lost(socket)); // the handshake takes too long
    socket.onopen = () => this.opened(socket);
    socket.onmessage = ({ data }: { data: unknown }) => this.heard(socket, data);
    socket.onclose = ({ code }: { code: number }) => this.lost(socket, code);
    socket.onerror = () => {}; // `close` follows
  }

  private opened(socket: WebSocketLike): void {
    if (socket === this.socket) {
      this.connected = true;
      this.watchSilence();
      this.sessions.forEach(one => one.sync.connected());
      this.changed.call();
    }
  }

  private heard(socket: WebSocketLike, data: unknown): void {
    if (socket !== this.socket || typeof data !== 'string') {
      return;
    }
    this.fruitful = true;
    this.attempt = 0;
    this.watchSilence();
    const message = JSON.parse(data) as ServerMessage;
    const session = this.sessionOf(message);
    session?.sync.receive(message);
    if (session && message.type === 'opened') {
      this.checkAlone(session);
    }
  }

  /** This socket is gone; make a new one. */
  private lost(socket: WebSocketLike, code?: number): void {
    if (socket !== this.socket) {
      return;
    }
    if (code === TOO_BIG) {
      const error = new DocumentError('too_large', 'the server takes no change as big as this');
      const waiting = [...this.sessions].filter(one => one.sync.state.inFlight);
      waiting.forEach(one => one.sync.fail(error));
    }
    this.attempt = this.fruitful ? 0 : this.attempt + 1;
    this.lose();
    this.dialLater();
  }

  private dialLater(): void {
    this.redial.start(pause(this.attempt), () => this.dial());
  }

  /** Let go of the socket: nothing more is sent or heard. */
  private lose(): void {
    const { socket, connected } = this;
    this.socket = null;
    this.connected = false;
    this.silence.stop();
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
    if (connected) {
      this.sessions.forEach(one => one.sync.disconnected());
      this.changed.call();
    }
  }

  // Whether the server is there. A page does not see the server's pings, so it asks.

  private watchSilence(): void {
    this.silence.start(SILENCE_MS, this.onOffline);
  }

  /**
   * Ask the server for a sign of life, now: it may be gone. If none comes in time, a new connection
   * is made. For a page that was asleep, say.
   */
  probe(): void {
    const { socket } = this;
    if (socket && this.connected) {
      this.send({ type: 'ping' }); // any answer will do
      this.silence.start(this.patience, () => this.lost(socket));
    }
  }

  private readonly onOffline = (): void => this.probe();

  private readonly onOnline = (): void => {
    if (!this.connected) {
      this.reconnect('the network is back');
    }
  };

  // Whom a message is for.

  /** An answer to `open` goes by path, all else by document. */
  private sessionOf(message: ServerMessage): Session | undefined {
    const all = [...this.sessions].filter(one => !one.closed);
    if (message.type === 'opened' || !('doc' in message) || message.doc === undefined) {
      const path = pathOf(message);
      return all.find(one => one.sync.opening && (path === one.sync.asked || path === one.path));
    }
    return all.find(one => one.id === message.doc);
  }

  /**
   * Two paths may lead to one document, and this connection has one place in its stream: the first
   * session keeps it.
   */
  private checkAlone(session: Session): void {
    const first = [...this.sessions].find(
      one => one !== session && one.id === session.id && !one.closed
    );
    if (first) {
      session.sync.fail(new DocumentError('open_twice', `it is open as '${first.path}'`, '/path'));
      first.sync.receive({ type: 'resync' });
    }
  }
}

function pathOf(message: ServerMessage): string | undefined {
  if (message.type === 'opened') {
    return message.asked ?? message.path;
  }
  return message.type === 'error' ? message.path : undefined;
}

function newWebSocket(url: string): WebSocketLike {
  return new WebSocket(url);
}
