// The document of a dump: its summary at once, then the explorer in a kernel; below, a console on the same kernel.

import { SessionContext, ToolbarButton } from '@jupyterlab/apputils';
import { IEditorServices } from '@jupyterlab/codeeditor';
import { ConsolePanel, IConsoleTracker } from '@jupyterlab/console';
import { PathExt } from '@jupyterlab/coreutils';
import { ABCWidgetFactory, DocumentRegistry, DocumentWidget } from '@jupyterlab/docregistry';
import { OutputArea, OutputAreaModel, SimplifiedOutputArea } from '@jupyterlab/outputarea';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { KernelMessage, ServiceManager } from '@jupyterlab/services';
import { consoleIcon, notebookIcon, refreshIcon } from '@jupyterlab/ui-components';
import { Signal } from '@lumino/signaling';
import { Panel, SplitPanel, Widget } from '@lumino/widgets';

import { make } from './dom';
import { dumpIcon } from './fileType';
import { summaryOf } from './server';

/** What the documents need of JupyterLab. */
export interface IServices {
  manager: ServiceManager.IManager;
  rendermime: IRenderMimeRegistry;
  editors: IEditorServices;
  consoles: IConsoleTracker;
  consoleFactory: ConsolePanel.IContentFactory;
  /** The settings as they are now. */
  settings: () => { kernel: string; shutdownOnClose: boolean };
  openInNotebook: (path: string) => void;
}

/** The Python that a document runs; `dump` and `explorer` are then there for its console. */
export function startCode(name: string): string {
  // A JSON string is a Python string as well.
  return [
    'import kernlab',
    `dump = kernlab.open(${JSON.stringify(name)})`,
    "explorer = dump.explorer(height='100%')",
    'explorer'
  ].join('\n');
}

export class DumpContent extends SplitPanel {
  constructor(context: DocumentRegistry.Context, services: IServices) {
    super({ orientation: 'vertical', spacing: 4 });
    this.addClass('kernlab-Document');
    this._context = context;
    this._services = services;
    this._summary = new Widget({ node: make('div', 'kernlab-Summary') });
    this._top = new Panel();
    this._top.addClass('kernlab-Top');
    this.addWidget(this._top);
    this._top.addWidget(this._summary);
    void context.ready.then(() => Promise.all([this._summarise(), this.start()]));
  }

  /** The kernel that runs the explorer, once it is there. */
  get kernel() {
    return this._session?.session?.kernel ?? null;
  }

  /** The path below the server's root, without a drive's name. */
  get path(): string {
    return this._services.manager.contents.localPath(this._context.path);
  }

  /** Resolves when the explorer was shown, or failed. */
  get started(): Promise<void> {
    return this._started;
  }

  /** Start a kernel in the dump's folder and show the explorer. */
  start(): Promise<void> {
    this._started = this._start().catch(error => this._fail(String(error)));
    return this._started;
  }

  /** Begin again with a fresh kernel. */
  async restart(): Promise<void> {
    await this._session?.restartKernel();
    await this._show();
  }

  /** Show or hide the console. */
  toggleConsole(): void {
    const panel = this._console;
    if (!panel) {
      return;
    }
    if (!panel.parent) {
      this.addWidget(panel);
      this.setRelativeSizes([3, 1]);
    } else {
      panel.setHidden(!panel.isHidden);
    }
    if (panel.isVisible) {
      panel.console.promptCell?.editor?.focus();
    }
  }

  /** Bring the explorer to a table. */
  showTable(name: string): void {
    this.kernel?.requestExecute({
      code: `explorer.show(${JSON.stringify(name)})`,
      silent: true,
      store_history: false
    });
  }

  dispose(): void {
    if (this.isDisposed) {
      return;
    }
    const id = this._session?.session?.id;
    // What closes a document ends its kernel, which holds the dump's memory, unless the settings keep it. The manager
    // is asked: the session's context goes away with the console below.
    if (id && this._services.settings().shutdownOnClose) {
      void this._services.manager.sessions.shutdown(id).catch(() => undefined);
    }
    this._console?.dispose();
    super.dispose();
  }

  private async _summarise(): Promise<void> {
    const node = this._summary.node;
    const size = this._context.contentsModel?.size;
    node.replaceChildren(
      make('h2', '', PathExt.basename(this.path)),
      make('p', 'kernlab-soft', size ? `${(size / 2 ** 20).toFixed(1)} MiB, opened where it lies` : ''),
      make('p', 'kernlab-wait', 'Starting a kernel …')
    );
    try {
      const summary = await summaryOf(this.path, this._services.manager.serverSettings);
      if (this.isDisposed) {
        return;
      }
      const facts = make('dl');
      for (const [name, value] of summary.rows ?? []) {
        facts.append(make('dt', '', name), make('dd', '', value));
      }
      const why = summary.error ?? summary.why ?? '';
      node.firstElementChild?.after(
        make('p', summary.error ? 'kernlab-bad' : 'kernlab-why', why),
        make('p', '', summary.title ?? ''),
        facts
      );
    } catch {
      // The route is a convenience: without the server extension the kernel says the same, a little later.
    }
  }

  private async _start(): Promise<void> {
    const { manager, rendermime, editors, consoles, consoleFactory } = this._services;
    const path = this.path;
    const session = (this._session = new SessionContext({
      kernelManager: manager.kernels,
      sessionManager: manager.sessions,
      specsManager: manager.kernelspecs,
      path,
      name: PathExt.basename(path),
      type: 'console',
      kernelPreference: { name: await this._kernelName(), language: 'python', shouldStart: true }
    }));
    const panel = (this._console = new ConsolePanel({
      manager,
      rendermime,
      contentFactory: consoleFactory,
      mimeTypeService: editors.mimeTypeService,
      sessionContext: session,
      path,
      preventTitleUpdate: true
    }));
    panel.addClass('kernlab-Console');
    // JupyterLab's own key for it asks for a console that is a document of its own; Notebook 7 looks at keys first.
    const run = (event: KeyboardEvent) => {
      const prompt = panel.console.promptCell?.node;
      if (event.key === 'Enter' && (event.shiftKey || event.ctrlKey) && prompt?.contains(event.target as Node)) {
        event.preventDefault();
        event.stopPropagation();
        void panel.console.execute(true);
      }
    };
    window.addEventListener('keydown', run, true);
    panel.disposed.connect(() => window.removeEventListener('keydown', run, true));
    // Known to the consoles' tracker, the console gets what draws ipywidgets, completion and all the rest. Injected,
    // it is not restored as a console of its own after a reload; but then the tracker does not announce it either.
    consoles.inject(panel);
    // Notebook 7 moves a console that is announced to a tab of its own and ends this one, unless its page is about a
    // widget of the same id: it is, of this document, which has the console in it.
    const own = panel.id;
    panel.id = this.parent?.id ?? own;
    (consoles.widgetAdded as Signal<IConsoleTracker, ConsolePanel>).emit(panel);
    await session.ready;
    // Whoever was told of it waits for the session, too, and was first.
    window.setTimeout(() => (panel.id = own));
    session.statusChanged.connect((_, status) => this.toggleClass('kernlab-mod-dead', status === 'dead'));
    await this._show();
  }

  private async _show(): Promise<void> {
    const session = this._session;
    const panel = this._console;
    if (!session || !panel || this.isDisposed) {
      return;
    }
    this._summary.node.querySelector('.kernlab-wait')?.replaceChildren('Opening the dump …');
    this._output?.dispose();
    const output = (this._output = new SimplifiedOutputArea({
      model: new OutputAreaModel({ trusted: true }),
      rendermime: panel.console.rendermime
    }));
    this._top.addWidget(output);
    const reply = await OutputArea.execute(startCode(PathExt.basename(this.path)), output, session);
    const ok = (reply as KernelMessage.IExecuteReplyMsg | undefined)?.content.status === 'ok';
    this._summary.node.hidden = ok;
    this._summary.node.querySelector('.kernlab-wait')?.replaceChildren(ok ? '' : 'The explorer could not start:');
    this.toggleClass('kernlab-mod-ready', ok);
  }

  private async _kernelName(): Promise<string | undefined> {
    const specs = this._services.manager.kernelspecs;
    await specs.ready;
    const known = specs.specs?.kernelspecs ?? {};
    const wanted = [this._services.settings().kernel, specs.specs?.default ?? '', ...Object.keys(known)];
    return wanted.find(name => known[name]?.language === 'python');
  }

  private _fail(why: string): void {
    if (!this.isDisposed) {
      this._summary.node.querySelector('.kernlab-wait')?.replaceChildren(why);
    }
  }

  private _context: DocumentRegistry.Context;
  private _services: IServices;
  private _summary: Widget;
  private _top: Panel;
  private _session: SessionContext | null = null;
  private _console: ConsolePanel | null = null;
  private _output: SimplifiedOutputArea | null = null;
  private _started: Promise<void> = Promise.resolve();
}

export class DumpDocument extends DocumentWidget<DumpContent> {}

export class DumpFactory extends ABCWidgetFactory<DumpDocument> {
  constructor(options: DocumentRegistry.IWidgetFactoryOptions<DumpDocument>, services: IServices) {
    super(options);
    this._services = services;
  }

  protected createNewWidget(context: DocumentRegistry.Context): DumpDocument {
    const content = new DumpContent(context, this._services);
    const widget = new DumpDocument({ content, context });
    widget.title.icon = dumpIcon;
    const buttons: [string, ToolbarButton][] = [
      [
        'notebook',
        new ToolbarButton({
          icon: notebookIcon,
          label: 'Open in Notebook',
          tooltip: 'A notebook on this dump, with the first questions already asked',
          onClick: () => this._services.openInNotebook(context.path)
        })
      ],
      [
        'console',
        new ToolbarButton({
          icon: consoleIcon,
          label: 'Console',
          tooltip: 'A Python prompt on the same kernel: dump and explorer are there',
          onClick: () => content.toggleConsole()
        })
      ],
      [
        'restart',
        new ToolbarButton({
          icon: refreshIcon,
          tooltip: 'Restart the kernel and open the dump again',
          onClick: () => void content.restart()
        })
      ]
    ];
    for (const [name, button] of buttons) {
      widget.toolbar.addItem(name, button);
    }
    return widget;
  }

  private _services: IServices;
}

