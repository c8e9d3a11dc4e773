"""What every implementation of one protocol must do, whichever it is."""
