"""Raw data by address (s3, gs, http): what is there, which version, and the files themselves in a local cache."""
