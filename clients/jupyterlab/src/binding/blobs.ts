/**
 * Large outputs: the document has references to them. They are shown in full when the run is over
 * and their content was fetched, until then as the excerpt that the document has.
 */

import {
  attach,
  referencesOf,
  type BlobReference,
  type Cell,
  type Json,
  type JsonObject
} from 'ot-jupyter-core';

/** The content of a hash, a text. Fails if it is kept no more. */
export type FetchBlob = (hash: string) => Promise<string>;

/** See the module. */
export class Blobs {
  /** By hash; null: asked for, or not to be had. */
  private readonly contents = new Map<string, string | null>();
  /** Outputs as the document has them, by their references. */
  private readonly originals = new Map<string, Json>();

  /** `arrived` is called when there is a new content. */
  constructor(
    private readonly fetch: FetchBlob | null,
    private readonly arrived: (hash: string) => void
  ) {}

  /** The outputs of a cell as they are to be shown. `blobs` stays in them, so that copies refer. */
  shown(cell: Cell): Json[] {
    const state = cell.execution['state'];
    const growing = state === 'running' || state === 'queued';
    return cell.outputs.map(output => this.shownOutput(output, growing));
  }

  private shownOutput(output: Json, growing: boolean): Json {
    const references = referencesOf(output);
    if (references.size === 0) {
      return output;
    }
    this.originals.set(nameOf(output), output);
    const contents = new Map<string, string>();
    let missing = false;
    for (const { hash } of references.values()) {
      const content = this.contents.get(hash);
      if (content === undefined && !growing) {
        this.ask(hash);
      }
      if (typeof content === 'string') {
        contents.set(hash, content);
      } else {
        missing = true;
      }
    }
    const named = output as JsonObject;
    const full = missing ? withPlaces(named, references, contents) : attach(output, contents);
    return { ...(full as JsonObject), blobs: named['blobs'] as Json };
  }

  /** What the document says of an output that is shown. */
  original(output: Json): Json {
    if (typeof output !== 'object' || output === null || !Object.hasOwn(output, 'blobs')) {
      return output;
    }
    const { blobs: _blobs, ...plain } = output as JsonObject;
    return this.originals.get(nameOf(output)) ?? plain;
  }

  /** Whether an output of the cell refers to this content. */
  refers(cell: Cell, hash: string): boolean {
    return cell.outputs.some(one => [...referencesOf(one).values()].some(to => to.hash === hash));
  }

  /** What no cell refers to any more need not be kept. */
  forget(before: Cell, kept: readonly Cell[]): void {
    for (const output of before.outputs) {
      for (const { hash } of referencesOf(output).values()) {
        if (!kept.some(cell => this.refers(cell, hash))) {
          this.contents.delete(hash);
        }
      }
    }
  }

  private ask(hash: string): void {
    if (this.fetch === null) {
      return;
    }
    this.contents.set(hash, null);
    this.fetch(hash).then(
      content => {
        if (this.contents.get(hash) === null) {
          this.contents.set(hash, content);
          this.arrived(hash);
        }
      },
      () => undefined // the excerpt stays
    );
  }
}

function nameOf(output: Json): string {
  return JSON.stringify([...referencesOf(output)].map(([field, { hash }]) => [field, hash]).sort());
}

/** The output with a line in place of media that are not there. */
function withPlaces(
  output: JsonObject,
  references: ReadonlyMap<string, BlobReference>,
  contents: ReadonlyMap<string, string>
): JsonObject {
  const full = attach(output, contents) as JsonObject;
  if (full['data'] === undefined) {
    return full;
  }
  const lines = [...references].map(
    ([field, { size }]) => `[${field}, ${size.toLocaleString('en-US')} bytes]`
  );
  const data = { 'text/plain': lines.join('\n'), ...(output['data'] as JsonObject) };
  return { ...full, data };
}
