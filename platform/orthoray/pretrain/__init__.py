"""Self-supervised pretraining: DINO on datasets, streamed by Ray Data into Ray Train."""
