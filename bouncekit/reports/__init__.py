"""Reports: what became of the mail of a span of time, as values, an HTML file or a PDF."""
