"""nbconvert's exporter `kernlab_html`: an executed notebook in, one HTML file out that runs and fetches nothing."""

from __future__ import annotations

from nbconvert.exporters.html import HTMLExporter


class ReportExporter(HTMLExporter):
    """`jupyter nbconvert --to kernlab_html`: the page that `kernlab report` makes."""

    export_from_notebook = "Report (kernlab)"
