# services/submissions: see docs/architecture.md for what lives here
