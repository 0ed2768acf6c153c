"""What the tests share: networks, references, comparisons."""
