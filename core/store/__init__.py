"""The records: tables, sessions and migrations of one database, SQLite, or PostgreSQL when outgrown."""
