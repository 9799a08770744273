"""Weights from anywhere: read a file, folder, URL or tag, name its tensors as timm does, fit them into a model."""
