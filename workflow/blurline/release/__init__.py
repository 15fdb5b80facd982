"""What people do with a finished release: verify, summarise, compare."""
