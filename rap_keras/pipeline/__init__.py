"""The one road from images to an explanation, which every front end takes."""
