// JupyterLab's side of kernlab: dumps open by double-click, in notebooks, and are listed in a side panel.

import { ILayoutRestorer, JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, WidgetTracker } from '@jupyterlab/apputils';
import { IEditorServices } from '@jupyterlab/codeeditor';
import { ConsolePanel, IConsoleTracker } from '@jupyterlab/console';
import { FileDialog, IDefaultFileBrowser, IFileBrowserFactory } from '@jupyterlab/filebrowser';
import { ILauncher } from '@jupyterlab/launcher';
import { INotebookTracker } from '@jupyterlab/notebook';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { IDocumentManager } from '@jupyterlab/docmanager';

import { DumpDocument, DumpFactory } from './document';
import { dumpIcon, DumpModelFactory, FACTORY, FILE_TYPE, fileType, MODEL_NAME } from './fileType';
import { writeInvestigation } from './investigation';
import { KeptOutputs } from './kept';
import { DumpsPanel } from './panel';

const ID = '@kernlab/vmcore-explorer:plugin';
const INVESTIGATE = 'kernlab:open-in-notebook';
const EXPLORE = 'kernlab:open-in-explorer';
const CATEGORY = 'Crash dumps';

const plugin: JupyterFrontEndPlugin<void> = {
  id: ID,
  description: 'Opens Linux kernel crash dumps.',
  autoStart: true,
  requires: [IDocumentManager, IRenderMimeRegistry, IEditorServices, IConsoleTracker, ConsolePanel.IContentFactory],
  optional: [
    ISettingRegistry,
    ILayoutRestorer,
    ICommandPalette,
    ILauncher,
    IFileBrowserFactory,
    IDefaultFileBrowser,
    INotebookTracker
  ],
  activate: (
    app: JupyterFrontEnd,
    documents: IDocumentManager,
    rendermime: IRenderMimeRegistry,
    editors: IEditorServices,
    consoles: IConsoleTracker,
    consoleFactory: ConsolePanel.IContentFactory,
    registry: ISettingRegistry | null,
    restorer: ILayoutRestorer | null,
    palette: ICommandPalette | null,
    launcher: ILauncher | null,
    browsers: IFileBrowserFactory | null,
    browser: IDefaultFileBrowser | null,
    notebooks: INotebookTracker | null
  ) => {
    const { commands, docRegistry, serviceManager, shell } = app;
    const settings = { kernel: '', shutdownOnClose: true };
    const tracker = new WidgetTracker<DumpDocument>({ namespace: 'kernlab-vmcore' });

    const openInNotebook = async (dump: string): Promise<void> => {
      await serviceManager.kernelspecs.ready;
      const kernel = settings.kernel || serviceManager.kernelspecs.specs?.default || 'python3';
      documents.open(await writeInvestigation(dump, serviceManager.contents, kernel), 'Notebook');
    };

    docRegistry.addFileType(fileType);
    docRegistry.addModelFactory(new DumpModelFactory());
    const factory = new DumpFactory(
      {
        name: FACTORY,
        modelName: MODEL_NAME,
        fileTypes: [FILE_TYPE],
        defaultFor: [FILE_TYPE],
        readOnly: true
      },
      {
        manager: serviceManager,
        rendermime,
        editors,
        consoles,
        consoleFactory,
        settings: () => settings,
        openInNotebook: dump => void openInNotebook(dump)
      }
    );
    factory.widgetCreated.connect((_, document) => {
      document.context.pathChanged.connect(() => void tracker.save(document));
      void tracker.add(document);
    });
    docRegistry.addWidgetFactory(factory);
    docRegistry.addWidgetExtension('Notebook', new KeptOutputs());
    void restorer?.restore(tracker, {
      command: 'docmanager:open',
      args: document => ({ path: document.context.path, factory: FACTORY }),
      name: document => document.context.path
    });

    // The dump that a command is about: the one named, the one chosen in the file browser, or one asked for.
    const theDump = async (args: Record<string, unknown>): Promise<string | null> => {
      if (typeof args.path === 'string') {
        return args.path;
      }
      if (args.isContextMenu) {
        const chosen = browsers?.tracker.currentWidget?.selectedItems().next().value;
        return chosen?.path ?? null;
      }
      const asked = await FileDialog.getOpenFiles({
        manager: documents,
        title: 'Which crash dump?',
        defaultPath: browser?.model.path
      });
      return asked.value?.[0]?.path ?? null;
    };
    commands.addCommand(INVESTIGATE, {
      label: args =>
        args.isLauncher ? 'Investigate a Dump' : args.isContextMenu ? 'Open in Notebook' : 'Open a Crash Dump in a Notebook …',
      caption: 'A notebook on a crash dump, with the first questions already asked',
      icon: dumpIcon,
      execute: async args => {
        const dump = await theDump(args);
        if (dump) {
          await openInNotebook(dump);
        }
      }
    });
    commands.addCommand(EXPLORE, {
      label: args => (args.isLauncher ? 'Explore a Dump' : 'Explore a Crash Dump …'),
      caption: 'A crash dump, whatever its name, in the explorer',
      icon: dumpIcon,
      execute: async args => {
        const dump = await theDump(args);
        if (dump) {
          documents.openOrReveal(dump, FACTORY);
        }
      }
    });
    for (const command of [EXPLORE, INVESTIGATE]) {
      palette?.addItem({ command, category: CATEGORY });
      launcher?.add({ command, category: CATEGORY, rank: 1, args: { isLauncher: true } });
    }

    const panel = new DumpsPanel(tracker, notebooks, id => shell.activateById(id));
    shell.add(panel, 'left', { rank: 600, type: 'Crash dumps' });
    restorer?.add(panel, panel.id);

    void registry?.load(ID).then(
      loaded => {
        const read = () => {
          settings.kernel = loaded.get('kernel').composite as string;
          settings.shutdownOnClose = loaded.get('shutdownOnClose').composite as boolean;
        };
        loaded.changed.connect(read);
        read();
      },
      reason => console.warn(`kernlab's settings could not be loaded: ${reason}`)
    );
  }
};

export default plugin;
