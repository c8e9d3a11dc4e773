"""SMTP and LMTP without I/O: a message as bytes, commands, the transaction, what goes over a line and when."""
