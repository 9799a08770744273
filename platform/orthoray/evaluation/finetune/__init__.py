"""Full fine-tuning: a backbone and a head learn a task together, fold by fold."""
