"""One message on its way, without I/O: typed steps that a driver carries out, and what comes of each recipient."""
