# plugins/blob_fs: see docs/architecture.md for what lives here
