"""What everybody speaks of: addresses, envelopes, replies, statuses, errors; and how text is matched and shown."""
