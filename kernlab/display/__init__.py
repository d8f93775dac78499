"""How values, tables and dumps are shown to people: one formatter for all views."""

from pathlib import Path

#: What all widgets' scripts make elements with; it comes before a widget's own.
ELEMENTS = Path(__file__).with_name("elements.js")
