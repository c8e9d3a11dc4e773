"""Where mail that comes back is taken from: `maildir`, `mbox`, `imap`, `pipe`, `lmtp`.

Each driver takes a callable `absorb(content, arrived_at)`, and knows nothing of who that is. A mail is acknowledged,
which is moved, expunged, answered with 250 or with exit code 0, only after `absorb` has returned: then it has been
remembered. A kill in between lets the same mail come again, which changes nothing.
"""
