"""JPEG: faces blurred in the DCT domain, so that every other coefficient stays."""
