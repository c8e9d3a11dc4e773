"""The verbs of the command line, called as people call them."""
