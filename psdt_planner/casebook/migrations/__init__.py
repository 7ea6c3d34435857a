"""Steps from one version of the casebook's tables to the next; alembic runs them."""
