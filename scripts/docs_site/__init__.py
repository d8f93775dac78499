"""The documentation site: pages of this repository in, a folder of HTML that needs no network out."""
