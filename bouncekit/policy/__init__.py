"""What to do about it: rules, schedules, suppressions, throttles, budgets and the guard, as values and arithmetic."""
