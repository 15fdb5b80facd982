"""blurline turns a collection of images into a privacy-aware release, reproducibly."""
