"""The parts of `run.certify`: what batches of images go through, one image, the file of results, radii."""
