"""Face detectors behind one call. Importing it loads no engine: torch and its kin come on first use."""
