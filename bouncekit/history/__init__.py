"""What has been: recorded events read back, told, sifted, and replayed through another policy."""
