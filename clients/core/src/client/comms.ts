/** The messages of the kernel's widgets. */

import type { Json } from '../transforms/index.js';
import { report } from './errors.js';
import type { ServerMessage } from './messages.js';

/** What is sent to the kernel. */
export type CommKind = 'comm_open' | 'comm_msg' | 'comm_close';

/**
 * A comm message: `content` is that of Jupyter's message of that type, `parent` the id of the
 * message that it answers, or `''`. `'comms_closed'`: all that were open are no more.
 */
export interface CommMessage {
  readonly kind: CommKind | 'comms_closed';
  readonly content: Record<string, Json>;
  readonly buffers: Uint8Array[];
  readonly parent: string;
}

const ALL_CLOSED: CommMessage = { kind: 'comms_closed', content: {}, buffers: [], parent: '' };

/**
 * The messages that a `comm` or `comms` of the server stands for. `again`: some were told before,
 * so what was open is void.
 */
export function commsIn(
  message: Extract<ServerMessage, { type: 'comm' | 'comms' }>,
  again: boolean
): CommMessage[] {
  if (message.type === 'comm') {
    const { kind, content, parent, buffers } = message;
    return [{ kind: kind as CommMessage['kind'], content, parent, buffers: buffers.map(toBytes) }];
  }
  const opened = message.open.map(({ buffers, metadata: _metadata, ...content }): CommMessage => {
    return { kind: 'comm_open', content, buffers: buffers.map(toBytes), parent: '' };
  });
  return again ? [ALL_CLOSED, ...opened] : opened;
}

/** Binary parts as the wire has them: base64. */
export function toBase64(bytes: Uint8Array): string {
  let units = '';
  for (let at = 0; at < bytes.length; at += 0x8000) {
    units += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  }
  return btoa(units);
}

function toBytes(base64: string): Uint8Array {
  return Uint8Array.from(atob(base64), unit => unit.charCodeAt(0));
}

/** Who hears comm messages. */
export class CommListeners {
  private readonly all = new Map<(message: CommMessage) => void, boolean>(); // were told something

  get any(): boolean {
    return this.all.size > 0;
  }

  add(listener: (message: CommMessage) => void): void {
    this.all.set(listener, false);
  }

  remove(listener: (message: CommMessage) => void): void {
    this.all.delete(listener);
  }

  /** Tell a message of the server to all. */
  tell(message: Extract<ServerMessage, { type: 'comm' | 'comms' }>): void {
    for (const [listener, before] of this.all) {
      this.all.set(listener, true);
      for (const one of commsIn(message, before)) {
        try {
          listener(one);
        } catch (error) {
          report(error);
        }
      }
    }
  }
}
