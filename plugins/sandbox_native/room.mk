# plugins/sandbox_native: see docs/architecture.md for what lives here
