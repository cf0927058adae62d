# services/leaderboard: see docs/architecture.md for what lives here
