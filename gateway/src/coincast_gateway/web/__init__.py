"""Pages for people: the web page, the documentation, and the files they are made of."""
