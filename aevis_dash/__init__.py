"""AEVis Dash: explains why a convolutional network misclassifies an adversarial example."""
