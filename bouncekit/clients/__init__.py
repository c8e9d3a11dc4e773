"""What sends: smtplib's classes dressed, clients with a pool, blocking and on an event loop, by relay or by MX."""
