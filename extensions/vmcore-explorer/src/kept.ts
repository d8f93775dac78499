// A widget of ours whose model is gone (no kernel, no saved state): what was saved beside it, instead of an error.

import { DocumentRegistry } from '@jupyterlab/docregistry';
import { INotebookModel, NotebookPanel } from '@jupyterlab/notebook';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { DisposableDelegate, IDisposable } from '@lumino/disposable';

import { make } from './dom';
import { MIME as TREE } from './mime';

const WIDGET = 'application/vnd.jupyter.widget-view+json';
const HTML = 'text/html';
// ipywidgets itself waits two seconds for a model; a kernel that is still to be chosen may keep it waiting for good.
const PATIENCE = 4000;

/** Notebooks in which what was saved stands in for a widget that cannot be had. */
export class KeptOutputs implements DocumentRegistry.IWidgetExtension<NotebookPanel, INotebookModel> {
  createNew(panel: NotebookPanel): IDisposable {
    const { rendermime } = panel.content;
    // ipywidgets tells its own renderers by their class, so they stay what they are: each only looks after itself.
    const create = rendermime.createRenderer;
    rendermime.createRenderer = (type: string) => {
      const renderer = create.call(rendermime, type);
      return type === WIDGET ? withStandIn(renderer, rendermime) : renderer;
    };
    return new DisposableDelegate(() => {
      rendermime.createRenderer = create;
    });
  }
}

function withStandIn(renderer: IRenderMime.IRenderer, rendermime: IRenderMimeRegistry): IRenderMime.IRenderer {
  const render = renderer.renderModel;
  let turn = 0;
  renderer.renderModel = async (model: IRenderMime.IMimeModel) => {
    const type = kept(model);
    if (!type) {
      return render.call(renderer, model);
    }
    const own = ++turn;
    const look = () => {
      // A widget that lives is an element; a closed one hides. Whatever comes later takes the place of this.
      if (own === turn && !renderer.isDisposed && !renderer.isHidden && !renderer.node.childElementCount) {
        void standIn(type, model, rendermime).then(node => {
          if (own === turn && !renderer.node.childElementCount) {
            renderer.node.replaceChildren(node);
          }
        });
      }
    };
    const timer = window.setTimeout(look, PATIENCE);
    try {
      await render.call(renderer, model);
    } finally {
      window.clearTimeout(timer);
      look();
    }
  };
  return renderer;
}

/** Which of the data beside a widget to show without it; none where the widget is not kernlab's. */
function kept(model: IRenderMime.IMimeModel): string | null {
  if (model.data[TREE]) {
    return TREE;
  }
  const html = model.data[HTML];
  const said = Array.isArray(html) ? html.join('') : html;
  return typeof said === 'string' && said.startsWith('<div class="kernlab-') ? HTML : null;
}

async function standIn(
  type: string,
  model: IRenderMime.IMimeModel,
  rendermime: IRenderMimeRegistry
): Promise<HTMLElement> {
  const drawn = rendermime.createRenderer(type);
  await drawn.renderModel(model);
  const said = 'Its kernel is gone; this is what was saved. Run the cell again to go on.';
  return make('div', 'kernlab-Kept', make('p', 'kernlab-soft', said), drawn.node);
}
