"""Import: images that lie in folders and archives become rows of a source manifest."""
