"""How well a detector does on annotated images: recall, precision, coverage, and what that costs."""
