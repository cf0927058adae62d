# services/traces: see docs/architecture.md for what lives here
