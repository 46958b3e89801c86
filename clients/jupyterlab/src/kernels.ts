/** Keeps JupyterLab's kernel session the one that the server runs cells on. */

import type { ISessionContext } from '@jupyterlab/apputils';
import { isNotebook, type Session } from 'ot-jupyter-core';

import type { LiveDocument } from './documents.js';

/**
 * Follow the kernel of a document, whoever starts, changes or ends it; and have *Interrupt* go
 * through the log, so that what waits is ended by it too. Returns how to stop it.
 */
export function followKernel(context: ISessionContext, { session }: LiveDocument): () => void {
  const onKernel = (): void => interruptThrough(context, session);
  context.kernelChanged.connect(onKernel);
  onKernel();
  const stop = session.subscribe(event => {
    if (event.type === 'change' && event.ops.some(one => one.path.startsWith('/kernel'))) {
      void follow(context, session);
    }
  });
  return () => {
    stop();
    context.kernelChanged.disconnect(onKernel);
  };
}

/** The id of the kernel that the server runs the document's cells on, if it has one. */
function kernelOf(session: Session): string | null {
  const id = isNotebook(session.document) ? session.document.kernel?.['id'] : undefined;
  return typeof id === 'string' && id !== '' ? id : null;
}

async function follow(context: ISessionContext, session: Session): Promise<void> {
  const isThere = (): boolean => kernelOf(session) === (context.session?.kernel?.id ?? null);
  if (isThere() || context.isDisposed) {
    return;
  }
  await context.sessionManager.refreshRunning();
  const id = kernelOf(session);
  if (!isThere() && id !== null && !context.isDisposed && !context.isTerminating) {
    await context.changeKernel({ id });
  }
}

function interruptThrough(context: ISessionContext, session: Session): void {
  const kernel = context.session?.kernel;
  if (kernel === undefined || kernel === null) {
    return;
  }
  const directly = kernel.interrupt.bind(kernel);
  kernel.interrupt = async () => {
    if (kernelOf(session) === kernel.id && session.status !== 'offline') {
      await session.kernel('interrupt');
    } else {
      await directly();
    }
  };
}
