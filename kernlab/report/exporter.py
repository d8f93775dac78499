"""nbconvert's exporter `kernlab_html`: an executed notebook in, one HTML file out that runs and fetches nothing."""

from __future__ import annotations

from typing import Any

from nbconvert.exporters.exporter import Exporter
from nbconvert.exporters.html import HTMLExporter


class ReportExporter(HTMLExporter):
    """`jupyter nbconvert --to kernlab_html any.ipynb`, and what `kernlab report` makes its page with.

    Of nbconvert's options it takes --execute, --no-input and those that choose cells; the template is its own.
    The same notebook gives the same bytes.
    """

    export_from_notebook = "Report (kernlab)"

    def from_notebook_node(  # type: ignore[override]
        self, nb: Any, resources: dict[str, Any] | None = None, **kw: Any
    ) -> tuple[str, dict[str, Any]]:
        """The page of an executed notebook (nbformat 4), and nbconvert's resources."""
        # nbconvert loads all exporters to list them: what this one needs is imported when it is used.
        from kernlab.report.page.build import build
        from kernlab.report.page.render import render

        # Not HTMLExporter's: that one fills a template of nbconvert's.
        nb, resources = Exporter.from_notebook_node(self, nb, resources, **kw)
        metadata = resources.get("metadata") or {}
        name = str(nb.metadata.get("title") or metadata.get("name") or "Report")
        return render(build(nb, name, with_code=not self.exclude_input)), resources
