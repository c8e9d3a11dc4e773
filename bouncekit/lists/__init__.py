"""Files of many rows: suppression lists, ours and other people's, and the recipients of a mail merge."""
