"""A page in the browser that generates clips: `harmony page MODEL`."""
