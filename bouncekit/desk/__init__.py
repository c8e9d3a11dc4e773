"""What a postmaster works with: policy and rules in force, ledger, gate, guard of budgets, the list, the sinks."""
