"""The pages in the browser: the server's own page at `/ui/`, and the reference of its routes at `/docs`."""
