/**
 * The rules by which JupyterLab's output area follows a cell (`CodeCellModel`, `OutputAreaModel` of
 * 4.6), without a page: an inserted output is appended, an edit of a stream goes to the last output,
 * streams of one name are joined, and the name of the last one is remembered when it is removed.
 */

import type { CellChange, YCodeCell } from '@jupyter/ydoc';

interface Output {
  output_type: string;
  name?: string;
  text?: string;
  [key: string]: unknown;
}

interface Change {
  readonly retain?: number;
  readonly delete?: number;
  readonly insert?: unknown;
}

/** See the module. */
export class Area {
  readonly outputs: Output[] = [];
  /** Times that nothing was shown, though there was something before. */
  blanks = 0;
  private lastStream = '';

  constructor(cell: YCodeCell) {
    cell.getOutputs().forEach(output => this.add(output as Output));
    cell.changed.connect((_, change) => this.follow(change as CellChange));
  }

  private follow(change: CellChange): void {
    const { streamOutputChange, outputsChange } = change as {
      streamOutputChange?: Change[];
      outputsChange?: Change[];
    };
    for (const part of streamOutputChange ?? []) {
      const last = this.outputs.at(-1) as Output;
      if (part.delete !== undefined) {
        last.text = (last.text ?? '').slice(0, -part.delete);
      }
      if (part.insert !== undefined) {
        last.text += String(part.insert);
      }
    }
    let at = 0;
    for (const part of outputsChange ?? []) {
      at += part.retain ?? 0;
      this.blanks += part.delete === this.outputs.length ? 1 : 0;
      this.outputs.splice(at, part.delete ?? 0);
      for (const output of (part.insert ?? []) as { toJSON(): Output }[]) {
        this.add(output.toJSON());
      }
    }
  }

  private add(output: Output): void {
    const name = output.output_type === 'stream' ? String(output.name) : '';
    if (name !== '' && name === this.lastStream && this.outputs.length > 0) {
      const last = this.outputs.at(-1) as Output;
      last.text = (last.text ?? '') + output.text;
    } else {
      this.outputs.push({ ...output });
      this.lastStream = name;
    }
  }
}
