"""Files, images, options and progress; knows nothing of networks."""
