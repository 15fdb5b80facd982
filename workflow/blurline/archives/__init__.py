"""Members of tar and zip files, read in place: nothing is unpacked to disk, and no header is believed."""
