"""How bytes reach a server: thin drivers of the transaction, one for each kind of I/O."""
