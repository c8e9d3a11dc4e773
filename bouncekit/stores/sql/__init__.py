"""What SQLite and PostgreSQL share: one SQL, over a `Database` that each of them has its own of."""
