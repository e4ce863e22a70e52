"""Benchmarks: accuracy, speed, memory and start-up, beside OpenCV and scikit-image."""
