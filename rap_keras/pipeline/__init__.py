"""From images to an explanation: the code that the command line and the Python interface share."""
