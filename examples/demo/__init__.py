"""What `make demo` shows: a plot of the training and pictures of the poses."""
