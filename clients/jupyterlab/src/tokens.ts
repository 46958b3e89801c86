/** What other plugins may ask for. */

import { Token } from '@lumino/coreutils';

import type { LiveDocuments } from './documents.js';

/** The live documents of this window. */
export const ILiveDocuments = new Token<LiveDocuments>(
  'ot-jupyter:ILiveDocuments',
  'The documents that are open live, each with its session with the server.'
);
