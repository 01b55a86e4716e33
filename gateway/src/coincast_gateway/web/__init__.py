"""The web page, the documentation pages and their static files."""
