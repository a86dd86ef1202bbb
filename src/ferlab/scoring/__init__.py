"""A model over many images: predictions out."""
