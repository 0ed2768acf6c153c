"""What a network is, without a backend."""
