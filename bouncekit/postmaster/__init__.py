"""The postmaster, and all that an application or its owner asks of one: settings, workers, explanations."""
