"""The replay widget: the last seconds of a machine to play, scrub and zoom, on one axis that ends at the crash."""
