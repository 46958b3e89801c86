/** Files that are not on this server: other drives, which other extensions bring. */

import type { ContentsManager } from '@jupyterlab/services';

import { PROVIDER } from './provider.js';

/**
 * Let the drives that are added from now on work as they would without us: the widget factories ask
 * every drive for the provider that they name, and one without it makes them fail.
 */
export function leaveAlone(contents: ContentsManager): void {
  const add = contents.addDrive.bind(contents);
  contents.addDrive = drive => {
    add(drive);
    drive.contentProviderRegistry?.register(PROVIDER, {
      get: (path, options) => drive.get(path, { ...options, contentProviderId: undefined }),
      save: (path, options) => drive.save(path, { ...options, contentProviderId: undefined }),
      ...(drive.sharedModelFactory && { sharedModelFactory: drive.sharedModelFactory })
    });
  };
}
