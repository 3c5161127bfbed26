"""Tables, engine and migrations. ``db.migrate(url)`` readies a database, ``db.open_engine(url)`` opens it."""
