"""Images of several frames: each frame blurred as it is shown, and written so that nothing lies beneath."""
