/** The plugins: who is given what. Nothing else. */

import {
  IConnectionLost,
  type JupyterFrontEnd,
  type JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { IToolbarWidgetRegistry, ICommandPalette } from '@jupyterlab/apputils';
import { EditorExtensionRegistry, IEditorExtensionRegistry } from '@jupyterlab/codemirror';
import { PageConfig, URLExt } from '@jupyterlab/coreutils';
import type { DocumentWidget } from '@jupyterlab/docregistry';
import {
  IEditorWidgetFactory,
  type FileEditor,
  type FileEditorFactory
} from '@jupyterlab/fileeditor';
import {
  INotebookCellExecutor,
  INotebookWidgetFactory,
  type NotebookPanel,
  type NotebookWidgetFactory
} from '@jupyterlab/notebook';
import { ServerConnection, type ContentsManager } from '@jupyterlab/services';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator, nullTranslator, type TranslationBundle } from '@jupyterlab/translation';
import { shareIcon } from '@jupyterlab/ui-components';
import { DisposableDelegate } from '@lumino/disposable';
import { Widget } from '@lumino/widgets';
import { Connection, indexedDbStore, type WebSocketLike } from 'ot-jupyter-core';

import { bindEditors, tellOfOthers } from './beside.js';
import { caretsOf } from './carets.js';
import { followConflicts } from './conflicts.js';
import { LiveDocuments, type LiveDocument } from './documents.js';
import { leaveAlone } from './drives.js';
import { CellExecutor } from './executor.js';
import { followQuestions } from './input.js';
import { followKernel } from './kernels.js';
import { quietly } from './lost.js';
import { PresenceBar } from './presence.js';
import { followPrompts } from './prompts.js';
import { LiveContents, PROVIDER } from './provider.js';
import { share } from './share.js';
import { followFileRights, followRights } from './rights.js';
import { StatusItem } from './status.js';
import { ILiveDocuments } from './tokens.js';
import { followTrust } from './trust.js';

export { ILiveDocuments } from './tokens.js';
export type { LiveDocument, LiveDocuments } from './documents.js';

const SHARE = 'ot-jupyter:share';

function words(translator: ITranslator | null): TranslationBundle {
  return (translator ?? nullTranslator).load('ot_jupyter');
}

/** The live document that a widget shows, null if it shows none. */
function shownIn(widget: Widget | null, documents: LiveDocuments): LiveDocument | null {
  const context = (widget as Partial<DocumentWidget> | null)?.context;
  return context === undefined ? null : documents.of(context.model.sharedModel);
}

let opened: LiveDocuments | null = null;

const documents: JupyterFrontEndPlugin<LiveDocuments> = {
  id: 'ot-jupyter:plugin',
  description: 'Live notebooks and text files.',
  autoStart: true,
  provides: ILiveDocuments,
  requires: [INotebookWidgetFactory, IEditorExtensionRegistry],
  optional: [IEditorWidgetFactory, ISettingRegistry],
  activate: (
    app: JupyterFrontEnd,
    notebooks: NotebookWidgetFactory.IFactory,
    extensions: IEditorExtensionRegistry,
    editors: FileEditorFactory.IFactory | null,
    settings: ISettingRegistry | null
  ): LiveDocuments => {
    const server = app.serviceManager.serverSettings;
    const connection = new Connection({
      url: () => {
        const url = URLExt.join(server.wsUrl, 'api/ot/socket');
        const token = server.appendToken ? server.token : '';
        return token === '' ? url : `${url}?token=${encodeURIComponent(token)}`;
      },
      webSocket: url => new server.WebSocket(url) as WebSocketLike,
      store: indexedDbStore(`ot-jupyter ${server.baseUrl} ${PageConfig.getOption('hubUser')}`)
    });
    const live = new LiveDocuments(connection, async (doc, hash) => {
      const url = URLExt.join(server.baseUrl, 'api/ot/blobs', doc, hash);
      const response = await ServerConnection.makeRequest(url, {}, server);
      if (!response.ok) {
        throw new ServerConnection.ResponseError(response);
      }
      return response.text();
    });
    const contents = app.serviceManager.contents as ContentsManager;
    const drive = contents.defaultDrive;
    drive.contentProviderRegistry?.register(PROVIDER, new LiveContents(drive, live));
    leaveAlone(contents);
    notebooks.contentProviderId = PROVIDER;
    if (editors !== null) {
      editors.contentProviderId = PROVIDER;
    }
    tellOfOthers();
    bindEditors(extensions);
    void settings?.load(documents.id).then(loaded => {
      const obey = (): void => {
        document.body.dataset['otNames'] = String(loaded.get('names').composite);
      };
      loaded.changed.connect(obey);
      obey();
    });
    opened = live;
    return live;
  }
};

const executor: JupyterFrontEndPlugin<INotebookCellExecutor> = {
  id: 'ot-jupyter:executor',
  description: 'Runs the cells of live notebooks on the server.',
  autoStart: true,
  provides: INotebookCellExecutor,
  requires: [ILiveDocuments],
  optional: [ITranslator],
  activate: (_: JupyterFrontEnd, live: LiveDocuments, translator: ITranslator | null) =>
    new CellExecutor(live, words(translator))
};

const carets: JupyterFrontEndPlugin<void> = {
  id: 'ot-jupyter:carets',
  description: 'Shows the carets of others in cells and files.',
  autoStart: true,
  requires: [ILiveDocuments, IEditorExtensionRegistry],
  activate: (_: JupyterFrontEnd, live: LiveDocuments, extensions: IEditorExtensionRegistry) => {
    extensions.addExtension({
      name: 'ot-jupyter:carets',
      factory: ({ model }) => {
        const shared = model.sharedModel as { notebook?: object | null; getId?: () => string };
        const found = live.of(shared.notebook ?? shared);
        const cell = shared.getId?.() ?? null;
        return found === null
          ? null
          : EditorExtensionRegistry.createImmutableExtension(caretsOf(found, cell));
      }
    });
  }
};

const cells: JupyterFrontEndPlugin<void> = {
  id: 'ot-jupyter:cells',
  description: 'Shows in cells who ran them, and what the kernel asks; and copies of lost text.',
  autoStart: true,
  requires: [ILiveDocuments],
  optional: [ITranslator],
  activate: (app: JupyterFrontEnd, live: LiveDocuments, translator: ITranslator | null) => {
    const trans = words(translator);
    app.docRegistry.addWidgetExtension('Notebook', {
      createNew: widget => {
        const panel = widget as NotebookPanel;
        const found = shownIn(panel, live);
        const stops =
          found === null
            ? []
            : [
                followPrompts(panel, found, trans),
                followQuestions(panel, found, trans),
                followConflicts(panel, found, trans),
                followRights(panel, found),
                followTrust(panel, found, app.serviceManager.contents),
                followKernel(panel.sessionContext, found)
              ];
        return new DisposableDelegate(() => stops.forEach(stop => stop()));
      }
    });
    app.docRegistry.addWidgetExtension('Editor', {
      createNew: widget => {
        const editor = widget as DocumentWidget<FileEditor>;
        const found = shownIn(editor, live);
        const stops = [followFileRights(editor, found)];
        if (found !== null) {
          stops.push(followConflicts(editor, found, trans));
        }
        return new DisposableDelegate(() => stops.forEach(stop => stop()));
      }
    });
  }
};

const status: JupyterFrontEndPlugin<void> = {
  id: 'ot-jupyter:status',
  description: 'Says in words how it stands with the current document.',
  autoStart: true,
  requires: [ILiveDocuments],
  optional: [IStatusBar, ITranslator, IToolbarWidgetRegistry],
  activate: (
    app: JupyterFrontEnd,
    live: LiveDocuments,
    bar: IStatusBar | null,
    translator: ITranslator | null,
    toolbars: IToolbarWidgetRegistry | null
  ) => {
    const trans = words(translator);
    toolbars?.addFactory<NotebookPanel>('Notebook', 'ot-status', panel => {
      const item = new StatusItem(trans);
      item.live = bar === null ? shownIn(panel, live) : null; // said once is enough
      return item;
    });
    if (bar !== null) {
      const item = new StatusItem(trans);
      const look = (): void => {
        item.live = shownIn(app.shell.currentWidget, live);
      };
      app.shell.currentChanged?.connect(look);
      void app.restored.then(look);
      bar.registerStatusItem('ot-jupyter:status', { item, align: 'middle', rank: 1 });
    }
  }
};

const presence: JupyterFrontEndPlugin<void> = {
  id: 'ot-jupyter:presence',
  description: 'Shows who is here, and copies a link for the next one.',
  autoStart: true,
  requires: [ILiveDocuments, IToolbarWidgetRegistry],
  optional: [ITranslator, ICommandPalette],
  activate: (
    app: JupyterFrontEnd,
    live: LiveDocuments,
    toolbars: IToolbarWidgetRegistry,
    translator: ITranslator | null,
    palette: ICommandPalette | null
  ) => {
    const trans = words(translator);
    toolbars.addFactory<NotebookPanel>('Notebook', 'ot-presence', panel => {
      const found = shownIn(panel, live);
      return found === null ? new Widget() : new PresenceBar(panel, found, trans);
    });
    app.commands.addCommand(SHARE, {
      label: args => (args['toolbar'] ? '' : trans.__('Copy Link to Share')),
      caption: trans.__('Share: copy a link that opens this document'),
      icon: shareIcon,
      isEnabled: () => shownIn(app.shell.currentWidget, live) !== null,
      execute: () => {
        const found = shownIn(app.shell.currentWidget, live);
        if (found !== null) {
          share(found.session.path, trans);
        }
      }
    });
    palette?.addItem({ command: SHARE, category: trans.__('File Operations') });
  }
};

const lost: JupyterFrontEndPlugin<IConnectionLost> = {
  id: 'ot-jupyter:connection-lost',
  description: 'Says that the connection is lost without a dialog.',
  autoStart: true,
  provides: IConnectionLost,
  // It is needed before there are documents.
  activate: () => quietly(() => opened?.any ?? false)
};

// On a JupyterHub the connection is lost with the server, and its extension offers to start it.
const onHub = PageConfig.getOption('hubUser') !== '';

const plugins: JupyterFrontEndPlugin<unknown>[] = [
  documents,
  executor,
  carets,
  cells,
  status,
  presence,
  ...(onHub ? [] : [lost])
];
export default plugins;
