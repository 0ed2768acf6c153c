"""Files, images, options and progress. Nothing here depends on models."""
