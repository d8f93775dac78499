// The side panel: the dumps that kernels of this page have open, their tables, and how many rows those have.

import { NotebookActions, INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import { Kernel } from '@jupyterlab/services';
import { refreshIcon } from '@jupyterlab/ui-components';
import { Message } from '@lumino/messaging';
import { Widget } from '@lumino/widgets';
import { IWidgetTracker } from '@jupyterlab/apputils';

import { make, visible } from './dom';
import { DumpDocument } from './document';
import { dumpIcon } from './fileType';

interface IOpenDump {
  file: string;
  title: string;
  variable: string | null;
  /** Name, rows where it was built, and how Python asks the dump for it. */
  tables: [string, number | null, string][];
}

// Asks a kernel that has kernlab loaded, and imports nothing into one that has not.
const QUESTION =
  "__import__('importlib').import_module('kernlab.display.summary').open_dumps(globals()) " +
  "if 'kernlab' in __import__('sys').modules else None";

export class DumpsPanel extends Widget {
  constructor(documents: IWidgetTracker<DumpDocument>, notebooks: INotebookTracker | null, activate: (id: string) => void) {
    super({ node: make('div') });
    this.id = 'kernlab-dumps';
    this.addClass('kernlab-Panel');
    this.title.icon = dumpIcon;
    this.title.caption = 'Crash dumps';
    this._documents = documents;
    this._notebooks = notebooks;
    this._activate = activate;
    const again = make('button', 'kernlab-again');
    again.title = 'Look again';
    again.setAttribute('aria-label', 'Look again');
    refreshIcon.element({ container: again, elementSize: 'normal' });
    again.addEventListener('click', () => this.look());
    this._list = make('div', 'kernlab-List');
    this.node.append(make('div', 'kernlab-Panel-head', make('h2', '', 'Open crash dumps'), again), this._list);
    documents.widgetAdded.connect((_, document) => {
      document.disposed.connect(() => this.look());
      // Its tables are built by and by, while somebody clicks through them.
      void document.context.ready.then(async () => {
        await document.content.started;
        this.look();
        document.content.kernel?.statusChanged.connect((_, status) => status === 'idle' && this.look());
      });
    });
    NotebookActions.executed.connect(() => this.look());
    notebooks?.widgetAdded.connect((_, panel) => panel.disposed.connect(() => this.look()));
    this._draw([]);
  }

  /** Ask the kernels again, soon. */
  look(): void {
    if (this.isVisible) {
      window.clearTimeout(this._timer);
      this._timer = window.setTimeout(() => void this._look(), 300);
    }
  }

  protected onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this.look();
  }

  protected onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    this.look();
  }

  private async _look(): Promise<void> {
    const owners: { owner: DumpDocument | NotebookPanel; kernel: Kernel.IKernelConnection | null | undefined }[] = [];
    this._documents.forEach(owner => owners.push({ owner, kernel: owner.content.kernel }));
    this._notebooks?.forEach(owner => owners.push({ owner, kernel: owner.sessionContext.session?.kernel }));
    const found = await Promise.all(
      owners.map(async ({ owner, kernel }) => ({ owner, dumps: kernel ? await this._ask(kernel) : [] }))
    );
    this._draw(found.filter(({ dumps }) => dumps.length));
  }

  private async _ask(kernel: Kernel.IKernelConnection): Promise<IOpenDump[]> {
    // A busy kernel would answer late, and what was seen of it before is still true.
    if (kernel.status !== 'idle') {
      return this._known.get(kernel.id) ?? [];
    }
    const future = kernel.requestExecute({
      code: '',
      silent: true,
      store_history: false,
      user_expressions: { dumps: QUESTION }
    });
    try {
      const reply = await future.done;
      const answer = (reply.content as any).user_expressions?.dumps?.data?.['text/plain'];
      const dumps = (JSON.parse(answer) ?? []) as IOpenDump[];
      this._known.set(kernel.id, dumps);
      return dumps;
    } catch {
      return [];
    }
  }

  private _draw(found: { owner: DumpDocument | NotebookPanel; dumps: IOpenDump[] }[]): void {
    const shown = JSON.stringify(found.map(({ owner, dumps }) => [owner.id, owner.title.label, dumps]));
    if (shown === this._shown) {
      return;
    }
    this._shown = shown;
    this._list.replaceChildren(
      ...found.flatMap(({ owner, dumps }) => dumps.map(dump => this._entry(owner, dump)))
    );
    if (!found.length) {
      this._list.append(
        make('p', 'kernlab-soft', 'No kernel of this window has a dump open. Double-click a vmcore in the file browser, or open one in a notebook with %vmcore.')
      );
    }
  }

  private _entry(owner: DumpDocument | NotebookPanel, dump: IOpenDump): HTMLElement {
    const head = make('summary', '', make('b', '', dump.file.split('/').pop() ?? dump.file));
    head.title = dump.file;
    const from = make('button', 'kernlab-from', `${dump.title} · in ${visible(owner.title.label)}`);
    from.title = `Show ${visible(owner.title.label)}`;
    from.addEventListener('click', () => this._activate(owner.id));
    const tables = make('div', 'kernlab-Tables');
    for (const [name, rows, expression] of dump.tables) {
      const button = make(
        'button',
        '',
        make('span', '', name),
        make('span', 'kernlab-soft', rows === null ? '–' : rows.toLocaleString('en-US'))
      );
      button.title = rows === null ? `${name}: not built yet` : `${name}: ${rows.toLocaleString('en-US')} rows`;
      button.addEventListener('click', () => this._show(owner, dump, name, expression));
      tables.append(button);
    }
    const entry = make('details', '', head, from, tables);
    entry.open = true;
    return entry;
  }

  private _show(owner: DumpDocument | NotebookPanel, dump: IOpenDump, table: string, expression: string): void {
    this._activate(owner.id);
    if (owner instanceof NotebookPanel) {
      if (dump.variable) {
        const { content, sessionContext } = owner;
        content.activeCellIndex = content.widgets.length - 1;
        NotebookActions.insertBelow(content);
        content.activeCell?.model.sharedModel.setSource(`${dump.variable}.${expression}`);
        void NotebookActions.run(content, sessionContext);
      }
    } else {
      owner.content.showTable(table);
    }
  }

  private _documents: IWidgetTracker<DumpDocument>;
  private _notebooks: INotebookTracker | null;
  private _activate: (id: string) => void;
  private _list: HTMLElement;
  private _known = new Map<string, IOpenDump[]>();
  private _shown = '?';
  private _timer = 0;
}
