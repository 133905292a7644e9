"""What computes Alpha158 besides ours: Qlib's own engine and plain pandas."""
