"""blktrace: block I/O, event by event, and how long each request took."""
