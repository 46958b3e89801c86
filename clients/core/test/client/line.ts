/** A WebSocket to a `Sequencer` in the same process, which can be bad. */

import type { ClientMessage, ServerMessage, WebSocketLike } from '../../src/index.js';
import type { Follower, Sequencer } from './sequencer.js';

/** The network: makes sockets, and may lose them, or what is sent on them. */
export class Network {
  readonly sockets: Line[] = [];
  /** Whether there is a way to the server. */
  open = true;
  /** Whether what is sent arrives; nobody is told. */
  silent = false;
  /** Called before the server takes a message. */
  before: (message: ClientMessage) => Promise<void> | void = () => {};

  constructor(readonly servers: readonly Sequencer[]) {}

  readonly dial = (): WebSocketLike => {
    const line = new Line(this);
    this.sockets.push(line);
    return line;
  };

  cut(): void {
    this.sockets.splice(0).forEach(one => one.lose(1006));
  }

  /** Everything of this kind that clients sent. */
  readonly heard: ClientMessage[] = [];
}

class Line implements WebSocketLike, Follower {
  onopen: ((event: never) => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event: { code: number }) => void) | null = null;
  onerror: ((event: never) => void) | null = null;
  private gone = false;
  private queue: Promise<void> = Promise.resolve();

  constructor(private readonly network: Network) {
    setTimeout(() => (network.open ? this.onopen?.(undefined as never) : this.lose(1006)), 0);
  }

  send(text: string): void {
    const message = JSON.parse(text) as ClientMessage;
    this.queue = this.queue.then(() => this.arrive(message));
  }

  private async arrive(message: ClientMessage): Promise<void> {
    const { network } = this;
    if (this.gone || network.silent) {
      return;
    }
    await network.before(message);
    network.heard.push(message);
    const { path, doc } = message as { path?: string; doc?: string };
    const server = network.servers.find(one => one.path === path || one.doc === doc);
    if (server) {
      server.take(this, message);
    } else {
      const { type: of } = message;
      this.say({ type: 'error', code: 'not_found', message: 'there is none', of, path, doc });
    }
  }

  tell(message: ServerMessage): void {
    if (!this.network.silent) {
      this.say(message);
    }
  }

  private say(message: ServerMessage): void {
    const data = JSON.stringify(message);
    setTimeout(() => this.gone || this.onmessage?.({ data }), 0);
  }

  /** The other side, or the network, ends it. */
  lose(code: number): void {
    this.close();
    this.onclose?.({ code });
  }

  close(): void {
    this.gone = true;
    this.network.servers.forEach(one => one.leave(this));
  }
}
