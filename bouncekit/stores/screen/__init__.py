"""What stands before a store, so that most questions never reach it: a filter, and a cache that machines share."""
