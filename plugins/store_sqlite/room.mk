# plugins/store_sqlite: see docs/architecture.md for what lives here
