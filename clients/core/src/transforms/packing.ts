/** Texts in which every code point is one UTF-16 unit. */

import { hasPairs } from './units.js';

/**
 * Code points with two units (and halves of them) as single units that the texts do not have, so that
 * units and code points are the same. All of them are symbols that stand alone, and so are these.
 */
export class Packing {
  full = false;
  private readonly units = new Map<string, string>();
  private readonly points = new Map<string, string>();

  constructor(text: string) {
    let free = 0xe000; // private use, then ideographs
    for (const point of text) {
      if (hasPairs(point) && !this.units.has(point)) {
        while (text.includes(String.fromCharCode(free))) {
          free = free === 0xf8ff ? 0x3400 : free + 1;
        }
        if (free >= 0x9fff && free < 0xe000) {
          this.full = true;
          return;
        }
        const unit = String.fromCharCode(free);
        this.units.set(point, unit);
        this.points.set(unit, point);
        free = free === 0xf8ff ? 0x3400 : free + 1;
      }
    }
  }

  pack(text: string): string {
    return Array.from(text, point => this.units.get(point) ?? point).join('');
  }

  unpack(text: string): string {
    return Array.from(text, unit => this.points.get(unit) ?? unit).join('');
  }
}
