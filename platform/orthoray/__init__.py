"""OrthoRay: build, prove and report an orthopaedic-imaging foundation model, on Ray."""

__version__ = "0.1.0"
