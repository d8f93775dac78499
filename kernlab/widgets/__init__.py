"""Views of a dump in a notebook: DataFrames in, HTML (later widgets) out."""
