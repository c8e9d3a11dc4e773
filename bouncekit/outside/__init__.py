"""What comes from outside: time, shipped files, DNS, the names of relays, who listens in this process."""
