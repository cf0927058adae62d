# docs: the contract is served by the server, so it is installed with it
docsdir = $(pkgdatadir)/docs
dist_docs_DATA = docs/openapi.json
EXTRA_DIST += docs/architecture.md docs/architecture.svg docs/compose.md docs/datasets.md docs/dependencies.md docs/guide.md docs/languages.md docs/load.md docs/measurement.md docs/plugins.md docs/remote-runners.md docs/reliability.md docs/security.md docs/testing.md
EXTRA_DIST += docs/brokers.md docs/judging.md docs/packages.md
EXTRA_DIST += docs/pit-configs.md docs/projects.md
EXTRA_DIST += docs/dashboard.md docs/dashboard-leaderboard.png docs/dashboard-submission.png
EXTRA_DIST += docs/pit-configs.md
EXTRA_DIST += docs/examples/plugin-hello/hello.c docs/examples/plugin-hello/Makefile
# the API as Postman requests; newman runs them in the tests
EXTRA_DIST += postman/assay.postman_collection.json postman/assay.postman_environment.json
EXTRA_DIST += docs/webhooks.md
# the client, and how boards are made
EXTRA_DIST += docs/client.md docs/scoring.md
EXTRA_DIST += docs/telemetry.md
