"""The parts of `campaign.certify`: what batches of images go through, and one image."""
