"""`pbserve up`: from a checkpoint to predictions, both services in one terminal."""
