/** When to look again: once for all that happens at once. */

/** A function that calls `work` in the next frame, once however often it was called meanwhile. */
export function oncePerFrame(work: () => void): () => void {
  let due = false;
  return () => {
    if (!due) {
      due = true;
      requestAnimationFrame(() => {
        due = false;
        work();
      });
    }
  };
}
