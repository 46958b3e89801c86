/**
 * Append items to a list. Not by `list.push(...items)`: a call has room for some 100,000 arguments,
 * and a cell may print more outputs, a file have more lines.
 */
export function append<T>(list: T[], items: Iterable<T>): void {
  for (const item of items) {
    list.push(item);
  }
}
