"""What a thing takes on this machine: times, what the hardware allows, and the machine's name."""
