"""Every fault at every point of a send, for every way to send; what servers and owners may smuggle, and secrets.

`python -m tests.faults` prints how many cells bouncekit, smtplib and aiosmtplib pass.
"""
