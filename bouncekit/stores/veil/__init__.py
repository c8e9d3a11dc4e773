"""A store that is told no addresses: pseudonyms go in, and the one who asks by an address is understood."""
