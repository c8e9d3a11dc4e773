"""What speed claims rest on. Each script prints ratios, taken in turns; none of them is a test that can fail."""
